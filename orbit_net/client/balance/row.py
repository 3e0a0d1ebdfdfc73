"""The calls of a balancer that have a backend and wait for a free stream there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.balance.backend import Backend
    from orbit_net.client.line import Pending
    from orbit_net.errors import OrbitError
    from orbit_net.net import Connection, Stream
    from orbit_net.wire.hpack import Field

__all__ = ["Rows", "Waiting", "elsewhere"]

_OTHERS = 8
"""Picks that a hedged call has to find another server."""


class Waiting:
    """A call in the row of one backend. Its refusal there is no refusal yet: another backend may take it."""

    __slots__ = ("_rows", "backend", "call", "fields", "hash_key", "stream", "wait_for_ready")

    def __init__(self, call: Pending, backend: Backend, rows: Rows, *, wait_for_ready: bool) -> None:
        self.call = call
        self.backend = backend
        self.fields: Sequence[Field] = call.fields
        self.hash_key = call.hash_key
        self.stream: Stream | None = None
        self.wait_for_ready = wait_for_ready
        self._rows = rows

    @property
    def tried(self) -> Sequence[Connection]:
        """The connections that the call would rather avoid."""
        return self.call.tried

    def begin(self, connection: Connection) -> None:
        """Let the call begin."""
        self._rows.begun(self, connection)

    def refuse(self, error: OrbitError) -> None:
        """Look for another backend."""
        self._rows.refused(self, error)


class Choosing(Protocol):
    """Who chooses the backend of a call."""

    def choose(self, call: Pending) -> Backend | None:
        """Return the backend for a call, or None when it has to wait."""

    def submit(self, call: Pending) -> None:
        """Choose, and give the call to its backend."""

    def refused(self, call: Pending, error: OrbitError) -> None:
        """The one backend there is refuses the call."""


class Rows:
    """All calls that wait in the row of a backend. ``final`` says that there is no other backend to ask."""

    __slots__ = ("_by_call", "_owner", "final")

    def __init__(self, owner: Choosing) -> None:
        self._owner = owner
        self._by_call: dict[Pending, Waiting] = {}
        self.final = False

    def __len__(self) -> int:
        return len(self._by_call)

    def hand(self, call: Pending, backend: Backend) -> None:
        """Give a call to a backend, at once if it has room."""
        subchannel = backend.subchannel
        current = subchannel.connection
        if current is not None and not subchannel.waiting and current.can_open:
            call.begin(current)
            if backend.watched and call.stream is not None:
                call.stream.watcher = backend
            return
        waiting = Waiting(call, backend, self, wait_for_ready=self.final and call.wait_for_ready)
        self._by_call[call] = waiting
        if backend.row is None:
            backend.row = {}
        backend.row[call] = None
        subchannel.submit(waiting)

    def begun(self, waiting: Waiting, connection: Connection) -> None:
        """A backend has room for a call."""
        call = waiting.call
        self._forget(call)
        call.begin(connection)
        if waiting.backend.watched and call.stream is not None:
            call.stream.watcher = waiting.backend

    def refused(self, waiting: Waiting, error: OrbitError) -> None:
        """A backend has no connection any more."""
        self._forget(waiting.call)
        if self.final:
            self._owner.refused(waiting.call, error)
        else:
            self._owner.submit(waiting.call)

    def _forget(self, call: Pending) -> Waiting | None:
        waiting = self._by_call.pop(call, None)
        if waiting is not None and waiting.backend.row is not None:
            waiting.backend.row.pop(call, None)
        return waiting

    def withdraw(self, call: Pending) -> None:
        """Take a call out; no effect when it is not in a row."""
        waiting = self._forget(call)
        if waiting is not None:
            waiting.backend.subchannel.withdraw(waiting)

    def recall(self, backend: Backend) -> list[Pending]:
        """Take all calls out of the row of a backend, and return them in their order."""
        calls = list(backend.row or ())
        for call in calls:
            self.withdraw(call)
        return calls


def elsewhere(call: Pending, backend: Backend, chooser: Choosing) -> Backend:
    """Return a backend that no other attempt of the call was sent to, if one turns up soon; else the last chosen."""
    for _ in range(_OTHERS):
        if backend.subchannel.connection not in call.tried:
            break
        backend = chooser.choose(call) or backend
    return backend
