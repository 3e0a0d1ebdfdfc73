"""A circuit breaker: leaves an endpoint alone that fails, and comes back to it by degrees. Pure: time is an argument.

CLOSED ──failures in a row──▶ OPEN ──isolation over──▶ HALF_OPEN ──probes succeed──▶ CLOSED
                               ▲                          │
                               └───────a probe fails──────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from orbit_net.errors import ConfigurationError

__all__ = ["BreakerPolicy", "BreakerState", "CircuitBreaker"]


class BreakerState(Enum):
    """What a circuit breaker does with calls: lets them through, refuses them, or lets a few try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When an endpoint is isolated, and for how long. Times in seconds.

    After ``failures`` in a row (five, as Orbit's documentation counts) the endpoint gets no calls for ``isolation``
    seconds, which double with every probe that fails, up to ``max_isolation``: ten seconds outlast a restart, and five
    minutes are what a person waits. Then one call at a time is let through, with each success twice as many, and beyond
    ``probes`` at a time all of them.
    """

    failures: int = 5
    isolation: float = 10.0
    max_isolation: float = 300.0
    probes: int = 8

    def __post_init__(self) -> None:
        for name in ("failures", "probes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"BreakerPolicy.{name} is {getattr(self, name)!r}; it must be at least 1")
        if not 0 < self.isolation <= self.max_isolation:
            text = f"BreakerPolicy.isolation is {self.isolation!r}; it must be above 0 and at most max_isolation"
            raise ConfigurationError(text)


class CircuitBreaker:
    """The breaker of one endpoint.

    A call asks by :meth:`begin` and hands what it got to one of the methods that end it; an answer of a call that began
    before the last change of state says nothing any more.
    """

    __slots__ = ("_allowance", "_asked", "_failures", "_openings", "_policy", "_probing", "_turn", "_until", "state")

    def __init__(self, policy: BreakerPolicy) -> None:
        self.state = BreakerState.CLOSED
        self._policy = policy
        self._turn = 0
        self._failures = 0
        self._openings = 0
        self._until = 0.0
        self._allowance = 0
        self._probing = 0
        self._asked = 0.0

    def refuses(self, now: float) -> bool:
        """Whether the endpoint is isolated now; asking uses nothing up."""
        return self.state is BreakerState.OPEN and now < self._until

    def begin(self, now: float) -> int | None:
        """Return the ticket of a call that may begin, or None for one that may not."""
        if self.state is BreakerState.CLOSED:
            return self._turn
        if self.refuses(now):
            return None
        if self.state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN)
            self._allowance, self._probing = 1, 0
        elif self._probing >= self._allowance and now < self._asked + self._policy.isolation:
            return None  # a probe that takes longer than the isolation does not keep others from trying
        self._probing += 1
        self._asked = now
        return self._turn

    def succeeded(self, ticket: int) -> None:
        """The endpoint answered."""
        if ticket != self._turn:
            return
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self._probing -= 1
            self._allowance *= 2
            if self._allowance > self._policy.probes:
                self._openings = 0
                self._enter(BreakerState.CLOSED)

    def failed(self, ticket: int, now: float) -> None:
        """The endpoint did not answer."""
        if ticket != self._turn:
            return
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._policy.failures:
            policy = self._policy
            self._until = now + min(policy.isolation * 2.0 ** min(self._openings, 64), policy.max_isolation)
            self._openings += 1
            self._enter(BreakerState.OPEN)

    def abandoned(self, ticket: int) -> None:
        """The caller left before there was an answer, which says nothing about the endpoint."""
        if ticket == self._turn and self.state is BreakerState.HALF_OPEN:
            self._probing -= 1

    def _enter(self, state: BreakerState) -> None:
        self.state = state
        self._turn += 1
        self._failures = 0

    def __repr__(self) -> str:
        if self.state is BreakerState.HALF_OPEN:
            return f"<CircuitBreaker half-open, {self._probing} of {self._allowance} probes>"
        return f"<CircuitBreaker {self.state.value}, {self._failures} failures>"
