"""The last things that happened to one channel or subchannel."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Severity", "Trace", "TraceEvent"]


class Severity(IntEnum):
    """How bad it was; the numbers are those of channelz."""

    INFO = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened at ``time``, in seconds since the epoch; ``child``: id and name of the subchannel."""

    time: float
    text: str
    severity: Severity = Severity.INFO
    child: tuple[int, str] | None = None


class Trace:
    """At most ``size`` events, the oldest of which make room; ``count`` counts the forgotten ones too."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.created = clock()
        self.count = 0
        self._clock = clock
        self._events: deque[TraceEvent] = deque(maxlen=size)

    def add(self, text: str, severity: Severity = Severity.INFO, *, child: tuple[int, str] | None = None) -> None:
        """Note an event of this moment."""
        self.count += 1
        self._events.append(TraceEvent(self._clock(), text, severity, child))

    @property
    def events(self) -> Iterable[TraceEvent]:
        """What is remembered, the oldest first."""
        return tuple(self._events)

    def __repr__(self) -> str:
        return f"<Trace {len(self._events)} of {self.count} events>"
