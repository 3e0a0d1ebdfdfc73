"""Deadlines of many calls by one task.

A cancel scope with a deadline around each operation would cost more than the call's own work, and held between two
calls of the user it would corrupt the scope stack. So a deadline is an entry in a heap; when it is due, its target's
``expire()`` is called, which must not block.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

import anyio

__all__ = ["Expiring", "Timer", "Timers"]


class Expiring(Protocol):
    """What a timer ends."""

    def expire(self) -> None:
        """Take notice that the time is up; called once, from the timer's task."""


class Timer:
    """One entry; :meth:`Timers.cancel` takes the target out and leaves the entry to be dropped later."""

    __slots__ = ("order", "target", "when")

    def __init__(self, when: float, order: int, target: Expiring) -> None:
        self.when = when
        self.order = order
        self.target: Expiring | None = target

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class Timers:
    """A heap of timers in the event loop's time, and the task that waits for the first.

    Cancelled entries never outnumber the live ones by more than a constant: the heap is rebuilt then, so adding and
    cancelling cost O(log n) amortised, and memory follows the calls that are really open.
    """

    __slots__ = ("_changed", "_heap", "_live", "_order", "_sleeping_until")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._live = 0
        self._order = count()
        self._changed: anyio.Event | None = None
        self._sleeping_until = float("inf")

    def __len__(self) -> int:
        return self._live

    def add(self, when: float, target: Expiring) -> Timer:
        """Have ``target.expire()`` called at ``when`` (``anyio.current_time()`` plus seconds)."""
        timer = Timer(when, next(self._order), target)
        heapq.heappush(self._heap, timer)
        self._live += 1
        if when < self._sleeping_until and self._changed is not None:
            self._changed.set()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; no effect on one that is over."""
        if timer.target is None:
            return
        timer.target = None
        self._live -= 1
        if len(self._heap) > 2 * self._live + 64:
            self._heap = [kept for kept in self._heap if kept.target is not None]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Wait and expire, until cancelled."""
        while True:
            self._expire(anyio.current_time())
            self._changed = anyio.Event()
            self._sleeping_until = self._heap[0].when if self._heap else float("inf")
            with anyio.CancelScope(deadline=self._sleeping_until):
                await self._changed.wait()

    def _expire(self, now: float) -> None:
        heap = self._heap
        while heap and (heap[0].target is None or heap[0].when <= now):
            timer = heapq.heappop(heap)
            target, timer.target = timer.target, None
            if target is not None:
                self._live -= 1
                target.expire()
