"""How long a connection lives, and how long it may take over its formalities. Pure; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orbit_net.errors import ConfigurationError

__all__ = ["AGE_JITTER", "Farewell", "Life", "LifeSettings"]

_NEVER: Final = float("inf")

AGE_JITTER: Final = 0.1
"""By this part, more or less, the ages of connections differ, lest all clients come back at once (gRFC A9)."""


@dataclass(frozen=True, slots=True)
class LifeSettings:
    """When a server ends a connection that does no harm (gRFC A9); seconds, None is never.

    ``max_idle`` after the last call has ended, or ``max_age`` (± 10 %) after the connection was made, the client is
    told to go: calls under way go on, new ones take a new connection, none is lost. ``age_grace`` after that the calls
    that are left fail with UNAVAILABLE. All three are off by default: a connection costs little, and making one with
    TLS does not. An age spreads the clients anew over servers that were added.
    """

    max_idle: float | None = None
    max_age: float | None = None
    age_grace: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds")


@dataclass(frozen=True, slots=True)
class Farewell:
    """How to end the connection: ``reason`` is the debug data of the GOAWAY; ``abort`` waits for no call."""

    reason: bytes
    abort: bool = False


class Life:
    """Decides when one connection of a server has lived long enough.

    ``born`` is when it was made; ``chance`` between -1 and 1 is how its age differs.
    """

    __slots__ = ("_aborts_at", "_ages_at", "_grace", "_max_idle", "_told")

    def __init__(self, settings: LifeSettings, *, born: float, chance: float) -> None:
        age = _NEVER if settings.max_age is None else settings.max_age * (1 + AGE_JITTER * chance)
        self._max_idle = _NEVER if settings.max_idle is None else settings.max_idle
        self._grace = _NEVER if settings.age_grace is None else settings.age_grace
        self._ages_at = born + age
        self._aborts_at = _NEVER
        self._told = False

    def due(self, idle_since: float | None) -> float:
        """Return when :meth:`act` has something to do; ``idle_since`` is None while there are calls."""
        if self._told:
            return self._aborts_at
        return self._ages_at if idle_since is None else min(self._ages_at, idle_since + self._max_idle)

    def act(self, now: float, idle_since: float | None) -> Farewell | None:
        """Return how the connection has to end now, if it has to."""
        if now < self.due(idle_since):
            return None
        if self._told:
            self._aborts_at = _NEVER
            return Farewell(b"max_age", abort=True)
        self._told = True
        if now < self._ages_at:
            return Farewell(b"max_idle")
        self._aborts_at = now + self._grace
        return Farewell(b"max_age")
