"""Retry delays that end when the test says so."""

from settle import until

__all__ = ["Delays", "retrying"]


class Delays:
    """Takes the place of the clock in the retries of ``channel``; ``asked`` are the seconds that were to be waited."""

    def __init__(self, channel):
        self.asked = []
        self._retrying = channel.retrying
        self._add = channel.retrying.add
        channel.retrying.add = self._ask

    def _ask(self, call, seconds):
        self.asked.append(seconds)
        self._add(call, 3600)

    @property
    def waiting(self):
        """How many calls wait for their next attempt."""
        return len(self._retrying._delays)

    async def end(self, number=1):
        """Wait until ``number`` calls wait, and let them go on."""
        await until(lambda: self.waiting == number)
        for call in list(self._retrying._delays):
            self._retrying._timers.cancel(self._retrying._delays[call])
            self._retrying.due(call)


def retrying(**changes):
    """Return a service config that tries every method of the echo service again, four attempts on UNAVAILABLE."""
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    method = {key: value for key, value in changes.items() if key in ("timeout", "waitForReady")}
    whole = {key: value for key, value in changes.items() if key == "retryThrottling"}
    policy |= {key: value for key, value in changes.items() if key not in method and key not in whole}
    return {"methodConfig": [{"name": [{"service": "test.Echo"}], "retryPolicy": policy, **method}], **whole}
