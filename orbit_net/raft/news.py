"""Telling those who want to know of leaders and terms."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from orbit_net.model import NodeId
    from orbit_net.raft.machine import RaftEventHandler

__all__ = ["News"]

_log = logging.getLogger("orbit_net.raft")

_WAITING: Final = 256


class News:
    """Notices what is new, and tells it from a task of its own."""

    def __init__(self, handlers: Iterable[RaftEventHandler]) -> None:
        self._handlers = tuple(handlers)
        self._term = 0
        self._leader: NodeId | None = None
        self._row: deque[Callable[[RaftEventHandler], Coroutine[Any, Any, None]]] = deque(maxlen=_WAITING)
        self._more = anyio.Event()

    def look(self, term: int, leader: NodeId | None) -> None:
        """Compare with what was known."""
        if term == self._term and leader == self._leader:
            return
        former, former_term = self._leader, self._term
        if former is not None:
            self._row.append(lambda handler: handler.on_leader_lost(former, former_term))
        if term != former_term:
            self._row.append(lambda handler: handler.on_term_changed(term))
        if leader is not None:
            self._row.append(lambda handler: handler.on_leader_elected(leader, term))
        self._term, self._leader = term, leader
        self._more.set()

    async def tell(self) -> None:
        """Tell everything in order, until cancelled."""
        while True:
            while self._row:
                call = self._row.popleft()
                for handler in self._handlers:
                    try:
                        await call(handler)
                    except Exception:  # noqa: BLE001 - a handler may raise anything
                        _log.exception("%r failed", handler)
            self._more = anyio.Event()
            await self._more.wait()
