"""When a resolver is asked. Pure; the time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orbit_net.client.backoff import BackoffPolicy
from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from random import Random

__all__ = ["ResolveSchedule", "ResolveSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveSettings:
    """How often names are resolved; seconds.

    A connection that is lost or cannot be made asks for it, but not within ``minimum_interval`` of the last success:
    30 s are what other gRPC clients leave a name server alone. ``interval`` asks also without a reason (None: never);
    after a failure ``backoff`` says when to try again. Changes that a resolver pushes count at once.
    """

    minimum_interval: float = 30.0
    interval: float | None = None
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_interval < math.inf:
            text = f"minimum_interval is {self.minimum_interval!r}; it must be a number of seconds of at least 0"
            raise ConfigurationError(text)
        if self.interval is not None and not max(self.minimum_interval, 1e-3) <= self.interval < math.inf:
            text = f"interval is {self.interval!r}; it must be at least minimum_interval, or None"
            raise ConfigurationError(text)


class ResolveSchedule:
    """Knows when the resolver is due; :attr:`due` is at once to begin with."""

    __slots__ = ("_earliest", "_failures", "_settings", "due")

    def __init__(self, settings: ResolveSettings) -> None:
        self.due = -math.inf
        self._settings = settings
        self._earliest = -math.inf
        self._failures = 0

    def wanted(self) -> None:
        """Take notice that somebody has a reason to ask again."""
        self.due = min(self.due, self._earliest)

    def pushed(self) -> None:
        """Take notice that there is something new for certain."""
        self.due = -math.inf

    def succeeded(self, now: float) -> None:
        """Take notice of an answer."""
        settings = self._settings
        self._failures = 0
        self._earliest = now + settings.minimum_interval
        self.due = math.inf if settings.interval is None else now + settings.interval

    def failed(self, now: float, random: Random) -> None:
        """Take notice that there was no answer; nobody can hurry the next attempt."""
        self._failures += 1
        self.due = self._earliest = now + self._settings.backoff.delay(self._failures, random)
