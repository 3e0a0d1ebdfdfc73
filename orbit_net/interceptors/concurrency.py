"""A limit for the calls that a server handles at once; what is above it is refused while that is cheap."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.server import ServerStream

__all__ = ["ConcurrencyLimit"]

_ALLOWED: Final = (Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE)


class ConcurrencyLimit:
    """Lets at most ``limit`` handlers run at once, lets ``queue`` more calls wait for their turn, and sheds the rest.

    A call that is shed ends at once with ``status``: RESOURCE_EXHAUSTED, or UNAVAILABLE where clients shall try again
    elsewhere. Waiting calls are served in the order of their arrival, and stop waiting when their client gives up or
    their deadline passes. One object may guard several servers, which share the limit then; ``active``, ``waiting`` and
    ``shed`` (a count since the beginning) are there to be watched.
    """

    def __init__(self, limit: int, *, queue: int = 0, status: Status = Status.RESOURCE_EXHAUSTED) -> None:
        if limit < 1:
            raise ConfigurationError(f"limit is {limit!r}; it must be at least 1 call")
        if queue < 0:
            raise ConfigurationError(f"queue is {queue!r}; it must not be negative")
        if status not in _ALLOWED:
            raise ConfigurationError(f"status is {status!r}; it must be RESOURCE_EXHAUSTED or UNAVAILABLE")
        self.limit = limit
        self.queue = queue
        self.active = 0
        self.shed = 0
        self._status = status
        self._row: deque[anyio.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._row)

    async def __call__(
        self, call: ServerStream[Any, Any], proceed: Callable[[ServerStream[Any, Any]], Awaitable[None]], /
    ) -> None:
        """Run the call when it is its turn, or refuse it."""
        await self._enter()
        try:
            await proceed(call)
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self.active < self.limit:
            self.active += 1
            return
        if len(self._row) >= self.queue:
            self.shed += 1
            raise GRPCError(self._status, f"the server is busy: {self.limit} calls are being handled")
        turn = anyio.Event()
        self._row.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # it had its turn just before it was cancelled
                self._leave()
            else:
                self._row.remove(turn)
            raise

    def _leave(self) -> None:
        """Hand the place on; invariant: nobody waits while a place is free."""
        if self._row:
            self._row.popleft().set()
        else:
            self.active -= 1

    def __repr__(self) -> str:
        return f"<ConcurrencyLimit {self.active} of {self.limit} active, {self.waiting} waiting, {self.shed} shed>"
