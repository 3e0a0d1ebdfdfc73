"""What the calls of a channel share for their retries: the tokens, the bytes kept, and the delays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from orbit_net.client.retry.hedging import HedgeTally
from orbit_net.client.retry.replay import ReplayBudget
from orbit_net.client.retry.retries import Throttle

if TYPE_CHECKING:
    from random import Random

    from orbit_net.client.config.service_config import ServiceConfig
    from orbit_net.client.settings import RetrySettings
    from orbit_net.net import Timer, Timers

__all__ = ["Delayed", "Retrying"]


class Delayed(Protocol):
    """A call that waits for its next attempt."""

    def go_on(self) -> None:
        """Begin the attempt; called once, unless the call was removed before. Must not block."""


class Retrying:
    """The retry state of one channel, which is one server name (gRFC A6 throttles by that).

    ``hedging`` counts what hedged calls did. ``throttle`` is None without ``retryThrottling``; ``closed`` says that
    nothing is tried again any more.
    """

    def __init__(self, settings: RetrySettings, config: ServiceConfig, timers: Timers, random: Random) -> None:
        self.budget = ReplayBudget(settings.call_buffer, settings.channel_buffer)
        self.throttle = None if config.throttling is None else Throttle(config.throttling)
        self.hedging = HedgeTally()
        self.random = random
        self.closed = False
        self._throttling = config.throttling
        self._timers = timers
        self._delays: dict[Delayed, Timer] = {}

    def configure(self, config: ServiceConfig) -> None:
        """Take another service config; the tokens stay as they are unless it counts them otherwise."""
        if config.throttling != self._throttling:
            self._throttling = config.throttling
            self.throttle = None if config.throttling is None else Throttle(config.throttling)

    def add(self, call: Delayed, seconds: float) -> None:
        """Have ``call`` go on in ``seconds``."""
        self._delays[call] = self._timers.add(anyio.current_time() + seconds, _Due(self, call))

    def remove(self, call: Delayed) -> None:
        """Forget a call that waits."""
        self._timers.cancel(self._delays.pop(call))

    def close(self) -> None:
        """Let all that wait go on at once, into the failure that awaits them on a closed channel."""
        self.closed = True
        for call in list(self._delays):
            self.remove(call)
            call.go_on()

    def due(self, call: Delayed) -> None:
        """The delay of ``call`` is over."""
        del self._delays[call]
        call.go_on()

    def __repr__(self) -> str:
        return f"<Retrying {len(self._delays)} delayed, {self.budget!r}, {self.throttle!r}>"


class _Due:
    """Ends one delay; the call itself is the target of its deadline."""

    __slots__ = ("_call", "_retrying")

    def __init__(self, retrying: Retrying, call: Delayed) -> None:
        self._retrying = retrying
        self._call = call

    def expire(self) -> None:
        self._retrying.due(self._call)
