"""Lets the time of a core pass: one task, which sleeps until something is due."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timekeeper"]


class Timekeeper:
    """Calls ``tick`` when ``due()`` says, in the event loop's seconds. None of them may block."""

    def __init__(self, due: Callable[[], float | None], tick: Callable[[], None]) -> None:
        self._due = due
        self._tick = tick
        self._until = -math.inf
        self._wake = anyio.Event()

    def look(self) -> None:
        """Take notice that something may be due earlier than before."""
        due = self._due()
        if due is not None and due < self._until:
            self._until = due
            self._wake.set()

    async def run(self) -> None:
        """Keep the time until cancelled."""
        while True:
            due = self._due()
            now = anyio.current_time()
            if due is not None and due <= now:
                self._tick()
                await anyio.lowlevel.checkpoint()
                continue
            self._wake = anyio.Event()
            self._until = math.inf if due is None else due
            with anyio.move_on_at(self._until):
                await self._wake.wait()
            self._until = -math.inf
