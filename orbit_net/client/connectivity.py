"""The states of a connection, and those who wait for them to change."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["Changes", "Connectivity"]


class Connectivity(Enum):
    """The states of gRPC's *connectivity-semantics-and-api*."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    TRANSIENT_FAILURE = "transient failure"
    SHUTDOWN = "shutdown"


class Changes:
    """Wakes whoever waits for another state; ``now`` tells the state of the moment.

    A waiter sees the latest state, never a backlog: what came and went while it was busy it does not see.
    """

    __slots__ = ("_changed", "_now")

    def __init__(self, now: Callable[[], Connectivity]) -> None:
        self._now = now
        self._changed: anyio.Event | None = None

    def tell(self) -> None:
        """Take notice that the state may be another one."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait(self, last: Connectivity) -> Connectivity:
        """Return the state as soon as it is not ``last``. Cancellation: nothing is lost."""
        while (state := self._now()) is last:
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
        return state

    async def watch(self) -> AsyncIterator[Connectivity]:
        """Yield the state now and after each change, up to SHUTDOWN."""
        last: Connectivity | None = None
        while last is not Connectivity.SHUTDOWN:
            last = self._now() if last is None else await self.wait(last)
            yield last
