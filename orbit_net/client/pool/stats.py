"""What a pool counts: requests, errors and a moving average of the latency."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbit_net.client.pool.breaker import BreakerState

__all__ = ["ConnectionStats", "EndpointStats", "PoolStats", "Tally"]

_ALPHA: Final = 0.1
"""The weight of a new sample in the moving average: the last twenty or so calls make nine tenths of it."""


class Tally:
    """Counts calls as they begin and end. ``latency`` is in seconds, 0 before the first sample."""

    __slots__ = ("_sampled", "errors", "last_used", "latency", "requests")

    def __init__(self, now: float) -> None:
        self.requests = 0
        self.errors = 0
        self.latency = 0.0
        self.last_used = now
        self._sampled = False

    def begun(self, now: float) -> None:
        """Count a call."""
        self.requests += 1
        self.last_used = now

    def ended(self, now: float, *, error: bool, seconds: float | None) -> None:
        """Count an error, and take ``seconds`` into the average unless None."""
        self.errors += error
        self.last_used = now
        if seconds is not None:
            self.latency = _ALPHA * seconds + (1 - _ALPHA) * self.latency if self._sampled else seconds
            self._sampled = True


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """One connection: its times in the event loop's seconds, its calls, and their average latency in milliseconds."""

    created: float
    last_used: float
    active: int
    requests: int
    errors: int
    average_latency_ms: float


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """One endpoint: the sums over the connections it ever had, those it has, and the state of its circuit breaker.

    ``breaker`` is None where it is switched off.
    """

    total_requests: int
    total_errors: int
    average_latency_ms: float
    connections: tuple[ConnectionStats, ...]
    breaker: BreakerState | None


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment: its open connections, and what it counted since it was made.

    ``average_latency_ms`` is a moving average (alpha 0.1) over the calls with one reply, retries included.
    """

    total_connections: int
    total_requests: int
    total_errors: int
    average_latency_ms: float
    endpoints: Mapping[str, EndpointStats] = field(default_factory=lambda: MappingProxyType({}))
