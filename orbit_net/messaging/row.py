"""Who waits for room in a link, first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.messaging.question import Awaited

__all__ = ["Row"]


class Row:
    """Questions that wait until ``has_room`` says yes to their size; a large one at the front is not overtaken."""

    __slots__ = ("_dissolved", "_has_room", "waiting")

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self._has_room = has_room
        self._dissolved = False
        self.waiting: OrderedDict[anyio.Event, None] = OrderedDict()
        """The events of those who wait; empty most of the time, and then there is nothing to do."""

    async def wait(self, question: Awaited) -> None:
        """Wait until there is room for ``question``, its time is up, or the row is dissolved."""
        event = question.event
        self.waiting[event] = None
        while True:
            try:
                await event.wait()
            finally:
                self.waiting.pop(event, None)
            if question.over or self._dissolved:
                return
            question.event = event = anyio.Event()
            if self._has_room(question.size):
                return
            self.waiting[event] = None
            self.waiting.move_to_end(event, last=False)

    def advance(self) -> None:
        """Let the first look whether there is room."""
        if self.waiting and self._has_room(0):
            event, _ = self.waiting.popitem(last=False)
            event.set()

    def dissolve(self) -> None:
        """Let everybody go. Does not wait."""
        self._dissolved = True
        while self.waiting:
            self.waiting.popitem(last=False)[0].set()
