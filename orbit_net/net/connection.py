"""The driver of one connection: one reader, one writer, and a wire between them.

Callers only enqueue: cancelling a task that writes would tear a frame and with it every other call on the connection.
The reader waits for nothing but bytes (and, under a flood of control frames, for the writer). When either of the two
ends, the connection ends, and every open stream is woken with one failure.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import ConnectionLost, InternalError, OrbitError
from orbit_net.net.socket import peer_of
from orbit_net.net.stream import Failure, Stream, reset_failure
from orbit_net.wire import Connection as Wire
from orbit_net.wire import (
    ConnectionFailed,
    FloodLimits,
    GoAwayReceived,
    HeadersReceived,
    MessagesReceived,
    SettingsReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
    WireSettings,
)
from orbit_net.wire.frames import MAX_STREAM_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import ByteStream

    from orbit_net.wire import Event
    from orbit_net.wire.hpack import Field, HeaderTemplate

__all__ = ["Connection"]

_CHUNK: Final = 65_536
_LINGER: Final = 1.0
"""Seconds that a finished connection goes on reading, lest the system resets it before the peer has read all."""
_FLUSH: Final = 5.0
"""Seconds that the last frames may take to leave."""
_STALL: Final = 20.0
"""Seconds that a peer may go on asking without reading the answers."""
_LAST_WORDS: Final = 0.5
"""Seconds in which the reader may find out why the writer failed: an alert of TLS comes before the reset."""

_log = logging.getLogger("orbit_net.net")

_LOST = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, ssl.SSLError)


class Connection:
    """Runs a :class:`orbit_net.wire.Connection` over any anyio byte stream.

    ``on_request(stream)`` is told of each new stream of a server; ``on_change()`` of whatever may matter to an owner:
    settings arrived, a GOAWAY came, a slot became free, the connection ended. Both are called in the reader's task and
    must not block. ``error`` says why the connection ended, and is None while it lives or when it ended as agreed.
    """

    def __init__(
        self,
        transport: ByteStream,
        *,
        client: bool,
        settings: WireSettings | None = None,
        limits: FloodLimits | None = None,
        on_request: Callable[[Stream], None] | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.wire = Wire(client=client, settings=settings, limits=limits)
        self.peer = peer_of(transport)
        self.error: OrbitError | None = None
        self.closed = False
        self._transport = transport
        self._streams: dict[int, Stream] = {}
        self._on_request = on_request
        self.on_change = on_change
        self._ending = False
        self._gone = anyio.Event()
        self._read_over = anyio.Event()
        self._writer_idle: anyio.Event | None = None
        self._flushed: anyio.Event | None = None
        self._handed = 0  # the headers of all streams below this id were given to the transport
        self._scope = anyio.CancelScope()
        self._read_scope = anyio.CancelScope()

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until the connection is over. Never raises for what the network or the peer did.

        Cancellation closes the byte stream at once; open streams fail with UNAVAILABLE.
        """
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    with self._read_scope:
                        await self._read()
                    self._read_over.set()
                    self._end()
        except Exception as error:  # noqa: BLE001 - a defect of ours ends this connection, not the user's task group
            _log.exception("internal error in %r", self)
            self.error = InternalError(f"the connection failed: {error!r}")
        finally:
            self.closed = True
            self._gone.set()
            self._fail_all(Failure(Status.UNAVAILABLE, str(self.error or "the connection was closed")))
            with anyio.CancelScope(shield=True):
                await self._close_transport()
            self._changed()

    async def _close_transport(self) -> None:
        with anyio.move_on_after(_LINGER):
            try:
                await self._transport.aclose()
            except _LOST:
                return

    @property
    def usable(self) -> bool:
        """Whether new calls may be put on this connection."""
        return not (self.closed or self._ending or self._exhausted) and self.wire.goaway_received is None

    @property
    def _exhausted(self) -> bool:
        """Whether no stream can be opened for good: the wire has failed, or the ids are used up (RFC 9113 §5.1.1)."""
        return self.wire.failure is not None or self.wire.next_stream_id > MAX_STREAM_ID

    @property
    def ready(self) -> bool:
        """Whether the peer's SETTINGS have arrived, so that it certainly speaks HTTP/2."""
        return self.usable and self.wire.peer.received

    @property
    def can_open(self) -> bool:
        """Whether a stream can be opened at this moment."""
        return self.usable and self.wire.can_open

    async def wait_closed(self) -> None:
        """Wait until the connection is over, all but the closing of its byte stream."""
        await self._gone.wait()

    def drain(self) -> None:
        """Finish gracefully: open streams go on to their end, new ones are turned away, then the connection closes."""
        self.wire.drain()
        self.wake_writer()

    def close(
        self, message: str = "the connection was closed", error_code: int = ErrorCodes.NO_ERROR, debug: bytes = b""
    ) -> None:
        """End now: say GOAWAY, fail what is open, flush, close. No effect when that is under way."""
        if self._ending:
            return
        self.wire.goaway(error_code, debug)
        self._fail_all(Failure(Status.UNAVAILABLE, message))
        self._end()

    def _end(self) -> None:
        """Nothing more will be queued: let the writer flush and stop."""
        if not self._ending:
            self._ending = True
            self._scope.deadline = anyio.current_time() + _FLUSH
            self.wake_writer()
            self._changed()

    def _fail_all(self, failure: Failure) -> None:
        for stream in list(self._streams.values()):
            stream.fail(failure)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    # --- streams ---------------------------------------------------------------------------------

    def open_stream(
        self,
        template: HeaderTemplate,
        extra: Sequence[Field] = (),
        early: Sequence[Field] = (),
        max_message: int | None = None,
    ) -> Stream:
        """Begin a request (client); raises :class:`LocalProtocolError` unless :attr:`can_open`.

        ``max_message``: bytes of a message of the response, where less is allowed than on the connection.
        """
        stream = Stream(self, self.wire.open_stream(template, extra, early))
        if max_message is not None:
            self.wire.streams[stream.id].assembler.limit = max_message
        self._streams[stream.id] = stream
        self.wake_writer()
        if self._exhausted:
            self._changed()
        return stream

    def release(self, stream: Stream) -> None:
        """Forget a stream whose call is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        wire = self.wire
        wire.release(stream.id)
        if wire.wants_write:
            self.wake_writer()
        if wire.drained:
            self._end()
        elif self._exhausted and not self._streams:
            self.close()
        elif self.on_change is not None:
            self.on_change()

    @property
    def open_streams(self) -> int:
        """How many calls hold a stream of this connection."""
        return len(self._streams)

    # --- the writer ------------------------------------------------------------------------------

    def wake_writer(self) -> None:
        """Say that there may be something to write."""
        idle = self._writer_idle
        if idle is not None:
            self._writer_idle = None
            idle.set()

    async def _write(self) -> None:
        wire, transport = self.wire, self._transport
        try:
            while True:
                data = wire.data_to_send()
                if wire.outbox.drained:
                    self._make_room()
                if self._flushed is not None:
                    self._flushed.set()
                if data:
                    self._handed = wire.next_stream_id
                    await transport.send(data)
                elif self._ending or wire.drained:
                    break
                else:
                    self._writer_idle = idle = anyio.Event()
                    await idle.wait()
            self._ending = True
            send_eof = getattr(transport, "send_eof", None)
            if send_eof is not None:
                await send_eof()
            self._read_scope.deadline = anyio.current_time() + _LINGER
        except _LOST as error:
            with anyio.move_on_after(_LAST_WORDS):
                await self._read_over.wait()
            self._lose(f"writing failed: {_describe(error)}", error)
            self._read_scope.cancel()

    def _make_room(self) -> None:
        for stream_id in self.wire.take_drained():
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.make_room()

    # --- the reader ------------------------------------------------------------------------------

    async def _read(self) -> None:
        receive, wire = self._transport.receive, self.wire
        while True:
            try:
                data = await receive(_CHUNK)
            except anyio.EndOfStream:
                if not self._ending:
                    self._lose("the connection was closed by the peer", None)
                self._dispatch(wire.receive_eof())
                return
            except _LOST as error:
                self._lose(f"reading failed: {_describe(error)}", error)
                if not wire.peer.received:  # what came instead of SETTINGS tells more
                    self._dispatch(wire.receive_eof())
                return
            wire.tick(anyio.current_time())
            events = wire.receive_data(data)
            if events:
                self._dispatch(events)
            if wire.outbox.pending:
                self.wake_writer()
                if wire.outbox.control_size > wire.guard.limits.control_backlog:
                    await self._flush_control()

    async def _flush_control(self) -> None:
        """Stop reading while the answers that the peer provoked are not leaving (CVE-2019-9512 and kin)."""
        self._flushed = anyio.Event()
        with anyio.move_on_after(_STALL) as stalled:
            await self._flushed.wait()
        self._flushed = None
        if stalled.cancelled_caught:
            self._lose(f"the peer read nothing for {_STALL:.0f} s and went on asking", None)
            self._scope.cancel()

    def _lose(self, message: str, cause: BaseException | None) -> None:
        if self.error is None and not self._ending:
            self.error = ConnectionLost(message)
            self.error.__cause__ = cause
        failure = Failure(Status.UNAVAILABLE, str(self.error or message))
        if self.wire.client:
            # What is queued will not be sent any more, so that these streams certainly never reached the peer.
            self.wire.outbox.clear()
            for stream_id, stream in self._streams.items():
                if stream_id >= self._handed:
                    stream.fail(replace(failure, unprocessed=True, unsent=True))
        self._fail_all(failure)

    def _dispatch(self, events: list[Event]) -> None:
        streams = self._streams
        for event in events:
            kind = type(event)
            if kind is MessagesReceived:
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    stream.inbox.extend(event.messages)  # type: ignore[attr-defined]
                    if stream._waiter is not None:  # noqa: SLF001 - once a message: saves a call
                        stream._waiter.set()  # noqa: SLF001
            elif kind is HeadersReceived:
                self._headers(event)  # type: ignore[arg-type]
            elif kind is TrailersReceived:
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    stream.trailers = event.block  # type: ignore[attr-defined]
                    self._ended(stream)
            elif kind is StreamEnded:
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    self._ended(stream)
            else:
                self._rare(event)

    def _ended(self, stream: Stream) -> None:
        stream.ended = True
        stream.wake()
        if self.wire.client:
            stream.make_room()  # the response is complete: nobody waits for what else the request had to say

    def _headers(self, event: HeadersReceived) -> None:
        if self.wire.client:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.headers = event.block
                stream.wake()
            return
        stream = Stream(self, event.stream_id)
        stream.headers = event.block
        self._streams[event.stream_id] = stream
        if self._on_request is not None:
            self._on_request(stream)

    def _rare(self, event: Event) -> None:
        match event:
            case StreamReset(stream_id, error_code):
                self._fail_stream(stream_id, reset_failure(error_code))
            case StreamFailed(stream_id, status, reason, _, unprocessed):
                unsent = unprocessed and stream_id >= self._handed
                self._fail_stream(stream_id, Failure(status, reason, unprocessed=unprocessed, unsent=unsent))
            case ConnectionFailed(error):
                self.error = error
                self._end()
            case GoAwayReceived(_, error_code, debug):
                self._goaway(error_code, debug)
            case SettingsReceived():
                self._changed()

    def _fail_stream(self, stream_id: int, failure: Failure) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.fail(failure)

    def _goaway(self, error_code: int, debug: bytes) -> None:
        if error_code != ErrorCodes.NO_ERROR and self.error is None:
            name = ErrorCodes(error_code).name if error_code in list(ErrorCodes) else hex(error_code)
            text = debug[:128].decode("utf-8", "replace")
            self.error = ConnectionLost(f"the peer ended the connection with {name}{': ' + text if text else ''}")
        self._changed()
        if self.wire.drained:
            self._end()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ending" if self._ending else "draining" if not self.usable else "open"
        side = "client" if self.wire.client else "server"
        return f"<Connection {side} {self.peer} {state}, {len(self._streams)} streams>"


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
