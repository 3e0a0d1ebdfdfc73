"""Whether and when a failed call is tried again: pure policy, with chance as an argument.

Source: gRFC A6. What is never sent twice is in :mod:`orbit_net.client.retry.replay`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

    from orbit_net.client.config.service_config import RetryPolicy, RetryThrottling
    from orbit_net.status import Status

__all__ = ["Retries", "Throttle", "backoff", "read_pushback"]

_JITTER: Final = 0.2
_PRECISION: Final = 1_000
_NEVER: Final = -1.0


def backoff(policy: RetryPolicy, retry: int, random: Random) -> float:
    """Return the seconds to wait before the ``retry``-th retry (>= 1): ± 20 % around the policy's value."""
    delay = policy.initial_backoff
    for _ in range(retry - 1):
        delay *= policy.backoff_multiplier  # not a power, which overflows
    return min(delay, policy.max_backoff) * random.uniform(1 - _JITTER, 1 + _JITTER)


def read_pushback(value: bytes | None) -> float | None:
    """Return the seconds that ``grpc-retry-pushback-ms`` asks for, below 0 for "do not retry", None without it.

    What is no number means "do not retry" too.
    """
    if value is None:
        return None
    digits = value.strip()
    return int(digits) / 1_000 if digits.isdigit() and len(digits) <= 12 else _NEVER


class Throttle:
    """The retry tokens of one channel, counted in thousandths.

    Invariant: 0 <= tokens <= the maximum.
    """

    __slots__ = ("_max", "_ratio", "_tokens")

    def __init__(self, throttling: RetryThrottling) -> None:
        self._max = throttling.max_tokens * _PRECISION
        # Rounded first: 0.001 × 1000 may be a hair below 1 in binary.
        self._ratio = int(round(throttling.token_ratio * _PRECISION, 6))
        self._tokens = self._max

    @property
    def tokens(self) -> float:
        """How many tokens are left."""
        return self._tokens / _PRECISION

    @property
    def open(self) -> bool:
        """Whether calls may be tried again."""
        return 2 * self._tokens > self._max

    def failed(self) -> None:
        """Count a retryable failure, or a server that asked not to be tried again."""
        self._tokens = max(0, self._tokens - _PRECISION)

    def succeeded(self) -> None:
        """Count a call that ended with OK."""
        self._tokens = min(self._max, self._tokens + self._ratio)

    def __repr__(self) -> str:
        state = "open" if self.open else "throttled"
        return f"<Throttle {state}, {self.tokens:g} of {self._max // _PRECISION} tokens>"


class Retries:
    """What the attempts of one call have used up.

    ``previous`` attempts are those that counted, which transparent ones do not.
    """

    __slots__ = ("_policy", "_since_pushback", "_throttle", "previous", "transparent")

    def __init__(self, policy: RetryPolicy | None, throttle: Throttle | None) -> None:
        self.previous = 0
        self.transparent = False
        self._policy = policy
        self._throttle = throttle
        self._since_pushback = 0

    def take_transparent(self, *, unsent: bool) -> bool:
        """Whether a call that the server's application never saw is tried again at once.

        Always if it never left the client, and once if it reached the server's transport.
        """
        if unsent:
            return True
        used, self.transparent = self.transparent, True
        return not used

    def eligible(self, status: Status) -> bool:
        """Whether the policy would try again after ``status``, tokens and pushback aside."""
        policy = self._policy
        return policy is not None and status in policy.retryable_status_codes and self.previous + 1 < policy.attempts

    def delay(self, status: Status, pushback: float | None, random: Random) -> float | None:
        """Count a failure, and return the seconds until the next attempt, or None when there is none."""
        policy, throttle = self._policy, self._throttle
        refused = pushback is not None and pushback < 0
        retryable = policy is not None and status in policy.retryable_status_codes
        if throttle is not None and (retryable or refused):
            throttle.failed()
        if refused or policy is None or not self.eligible(status) or (throttle is not None and not throttle.open):
            return None
        self.previous += 1
        if pushback is not None:
            self._since_pushback = 0
            return pushback
        self._since_pushback += 1
        return backoff(policy, self._since_pushback, random)
