"""One HTTP/2 stream as a call sees it: what arrived, and the two things that a task may wait for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel
from h2.errors import ErrorCodes

from orbit_net.errors import LocalProtocolError
from orbit_net.status import status_from_reset
from orbit_net.wire.assembler import PREFIX_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from grpclib.const import Status

    from orbit_net.net.connection import Connection
    from orbit_net.wire.hpack import Field, HeaderBlock, HeaderTemplate

__all__ = ["Failure", "Stream", "StreamWatcher", "Waiter", "reset_failure"]

_BURST: Final = 64
"""Messages that a loop may take from the buffer before the other tasks get a turn."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stream ended before its proper end.

    ``unprocessed``: the peer's application never saw it. ``unsent``: not even its headers left us for the transport.
    ``error_code`` is that of the RST_STREAM, where one came. ``urgent``: what has arrived is no longer wanted either.
    """

    status: Status
    message: str
    error_code: int | None = None
    unprocessed: bool = False
    unsent: bool = False
    urgent: bool = False


class Waiter(Protocol):
    """What is told that something arrived; an :class:`anyio.Event` is one."""

    def set(self) -> None:
        """Take notice. Called by the connection's reader: it must not block, and not use the connection."""


class StreamWatcher(Protocol):
    """Who wants to know how calls end: what chooses among connections."""

    def released(self, stream: Stream) -> None:
        """The call of ``stream`` is over; ``trailers`` and ``failure`` say how. Must not block."""


class Stream:
    """State that the connection's reader fills and one call consumes.

    Nothing here raises for a failed stream: ``failure`` says so, and the call turns it into its own error. At most one
    task may wait to receive; any number may wait for room to send.
    """

    __slots__ = (
        "_burst",
        "_room",
        "_waiter",
        "connection",
        "ended",
        "failure",
        "headers",
        "id",
        "inbox",
        "on_failure",
        "released",
        "trailers",
        "watcher",
    )

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.headers: HeaderBlock | None = None
        self.trailers: HeaderBlock | None = None
        self.ended = False
        self.failure: Failure | None = None
        self.inbox: deque[bytes] = deque()
        self.on_failure: Callable[[], None] | None = None
        self.released = False
        self.watcher: StreamWatcher | None = None
        self._burst = 0
        self._waiter: Waiter | None = None
        self._room: anyio.Event | None = None

    # --- called by the connection's reader -------------------------------------------------------

    def wake(self) -> None:
        """Let the receiving task look again."""
        waiter = self._waiter
        if waiter is not None:
            waiter.set()

    def make_room(self) -> None:
        """Let the sending tasks go on."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def fail(self, failure: Failure) -> None:
        """End the stream; what arrived before stays readable unless the failure is urgent.

        A client whose response is complete has nothing left to fail; a server may still have to answer.
        """
        complete = self.ended and self.connection.wire.client
        if self.failure is not None or (complete and not failure.urgent):
            return
        self.failure = failure
        if failure.urgent:
            self.inbox.clear()
        self.wake()
        self.make_room()
        if self.on_failure is not None:
            self.on_failure()

    # --- called by the call ----------------------------------------------------------------------

    async def arrival(self) -> None:
        """Wait until something arrives: a message, headers, the end or a failure.

        Cancellation: nothing is lost; the next call waits again.
        """
        if self._waiter is not None:
            raise LocalProtocolError("another task is already receiving from this call")
        connection = self.connection
        if connection.wire.expect_message(self.id):
            connection.wake_writer()
        event = self._waiter = anyio.Event()
        try:
            await event.wait()
        finally:
            self._waiter = None

    def watch(self, waiter: Waiter | None) -> None:
        """Tell ``waiter`` of each arrival, or nobody any more; while there is one, no task may wait to receive."""
        self._waiter = waiter

    async def receive(self) -> bytes | None:
        """Return the next message, or None when there will be none; look at ``failure`` then.

        Returns without waiting when a message is there, and gives other tasks a turn every 64 messages.
        """
        inbox = self.inbox
        if inbox:
            self._burst += 1
            if self._burst >= _BURST:
                self._burst = 0
                await anyio.lowlevel.checkpoint()
                if not inbox:  # an urgent failure came in the meantime
                    return None
        else:
            while not inbox:
                if self.ended or self.failure is not None:
                    return None
                await self.arrival()
            self._burst = 0
        message = inbox.popleft()
        if self.connection.wire.return_credit(self.id, len(message) + PREFIX_SIZE):
            self.connection.wake_writer()
        return message

    def send_headers(self, template: HeaderTemplate, extra: Sequence[Field] = ()) -> None:
        """Queue response headers."""
        self.connection.wire.send_headers(self.id, template, extra)
        self.connection.wake_writer()

    def send(self, message: bytes, *, end: bool = False) -> bool:
        """Queue a message; False when the caller should wait for :meth:`room` before the next."""
        has_room = self.connection.wire.send_message(self.id, message, end=end)
        self.connection.wake_writer()
        return has_room

    async def turn(self, size: int) -> None:
        """Wait until a message of ``size`` bytes may be queued on the connection, or the stream has failed."""
        writer = self.connection.writer
        while not (self.failure or self.released or writer.has_turn(self.id, size)):
            await writer.turn(self.id, size)

    def send_end(self) -> None:
        """Queue the end of a request."""
        self.connection.wire.send_end(self.id)
        self.connection.wake_writer()

    def send_trailers(self, template: HeaderTemplate, extra: Sequence[Field] = ()) -> None:
        """Queue the end of a response."""
        self.connection.wire.send_trailers(self.id, template, extra)
        self.connection.wake_writer()

    async def room(self) -> None:
        """Wait until the queue has drained below its low-water mark, or nobody wants the rest any more.

        That is when the stream has failed or been released, or, for a client, when the response is complete.
        """
        wire = self.connection.wire
        while not (self.failure or self.released or (self.ended and wire.client)) and wire.watch(self.id):
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()

    def reset(self, error_code: int) -> None:
        """Abandon the stream at once."""
        self.connection.wire.reset_stream(self.id, error_code)
        self.connection.wake_writer()

    def release(self) -> None:
        """Say that the call is over; the stream is reset if it was still open. May be called more than once."""
        if not self.released:
            self.released = True
            self.make_room()
            if self.watcher is not None:
                self.watcher.released(self)
            self.connection.release(self)

    def __repr__(self) -> str:
        state = "failed" if self.failure else "ended" if self.ended else "open"
        return f"<net.Stream {self.id} {state}, {len(self.inbox)} messages waiting>"


def reset_failure(error_code: int) -> Failure:
    """Return what a RST_STREAM with ``error_code`` means for the call."""
    refused = error_code == ErrorCodes.REFUSED_STREAM
    name = ErrorCodes(error_code).name if error_code in list(ErrorCodes) else hex(error_code)
    return Failure(
        status_from_reset(error_code), f"the peer reset the call with {name}", error_code, unprocessed=refused
    )
