"""How often something happens. Pure; the time is an argument."""

from __future__ import annotations

from collections import deque

__all__ = ["Rate"]


class Rate:
    """Counts events in seconds of their own, and gives their number per second over the last ``window`` seconds.

    Memory does not follow the number of events. Before a whole window has passed, the time since the first event
    counts, a second at least.
    """

    __slots__ = ("_began", "_counts", "_window")

    def __init__(self, window: int = 10) -> None:
        self._window = window
        self._counts: deque[list[int]] = deque()
        self._began: float | None = None

    def add(self, now: float) -> None:
        """Count an event."""
        second = int(now // 1)
        if self._began is None:
            self._began = now
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1][1] += 1
        else:
            self._counts.append([second, 1])
            self._forget(now)

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] + 1 <= now - self._window:
            self._counts.popleft()

    def per_second(self, now: float) -> float:
        """Return the rate."""
        self._forget(now)
        if self._began is None or not self._counts:
            self._began = None
            return 0.0
        # The oldest second may lie partly before the window: then all of it counts, and so does its time.
        span = min(now - self._began, now - self._counts[0][0])
        return sum(count for _, count in self._counts) / max(span, 1.0)
