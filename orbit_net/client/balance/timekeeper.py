"""Does things now and then: one task for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Timekeeper"]


class Timekeeper:
    """Calls each of ``periods()``, which says what and every how many seconds, with the time when it is due."""

    __slots__ = ("_changed", "_periods")

    def __init__(self, periods: Callable[[], Mapping[Callable[[float], None], float]]) -> None:
        self._periods = periods
        self._changed: anyio.Event | None = None

    def reset(self) -> None:
        """Take notice that there may be other things to do, or other periods; what was due stays due."""
        if self._changed is not None:
            self._changed.set()

    async def run(self) -> None:
        """Wait and call, until cancelled. What is called must not block."""
        due: dict[Callable[[float], None], float] = {}
        while True:
            changed = self._changed = anyio.Event()
            periods, now = self._periods(), anyio.current_time()
            due = {act: min(due.get(act, now + period), now + period) for act, period in periods.items()}
            while not changed.is_set():
                with anyio.CancelScope(deadline=min(due.values(), default=float("inf"))):
                    await changed.wait()
                now = anyio.current_time()
                for act, when in due.items():
                    if when <= now and not changed.is_set():
                        act(now)
                        due[act] = now + periods[act]
