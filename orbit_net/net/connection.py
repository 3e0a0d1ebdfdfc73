"""The driver of one connection: one reader, one writer, and a wire between them.

Callers only enqueue: cancelling a task that writes would tear a frame and with it every other call on the connection.
The reader waits for nothing but bytes (and, under a flood of control frames, for the writer). When either of the two
ends, the connection ends, and every open stream is woken with one failure.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Final

import anyio
from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import ConnectionLost, InternalError, OrbitError
from orbit_net.net.delivery import Delivery
from orbit_net.net.forsaken import Forsaken
from orbit_net.net.socket import peer_of
from orbit_net.net.stream import Failure, Stream
from orbit_net.net.upkeep import Upkeep
from orbit_net.net.writer import Writer
from orbit_net.wire import Connection as Wire
from orbit_net.wire import FloodLimits, WireSettings
from orbit_net.wire.frames import MAX_STREAM_ID
from orbit_net.wire.keepalive import PingStrikes, ServerKeepaliveSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio import TypedAttributeProvider
    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.net.upkeep import UpkeepSettings
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
    must not block. ``error`` says why the connection ended, and is None while it lives or when it ended as agreed;
    ``pinged_too_often`` whether the peer ended it for our pings. ``upkeep`` are the policies of its life, none without;
    ``chance`` between -1 and 1 sets its maximum age apart from others', ``began`` is when its TLS handshake did.
    """

    def __init__(
        self,
        transport: ByteStream,
        *,
        client: bool,
        settings: WireSettings | None = None,
        limits: FloodLimits | None = None,
        upkeep: UpkeepSettings | None = None,
        chance: float = 0.0,
        began: float | None = None,
        on_request: Callable[[Stream], None] | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        keepalive = None if upkeep is None else upkeep.keepalive
        strikes = PingStrikes(keepalive) if isinstance(keepalive, ServerKeepaliveSettings) else None
        self.wire = Wire(client=client, settings=settings, limits=limits, strikes=strikes)
        self.peer = peer_of(transport)
        self.error: OrbitError | None = None
        self.closed = False
        self.pinged_too_often = False
        self.on_change = on_change
        self._transport = transport
        self.attributes: TypedAttributeProvider = transport
        """What the byte stream knows of itself: anyio's attributes of sockets and of TLS, where it has them."""
        self._streams: dict[int, Stream] = {}
        self.forsaken = Forsaken(self.wire)
        self.writer = Writer(self.wire, transport, self._streams)
        self.wake_writer = self.writer.wake
        self.deliver = Delivery(self, self._streams, on_request).deliver
        self._upkeep_settings = upkeep
        self._chance = chance
        self._began = began
        self._upkeep: Upkeep | None = None
        self._ending = False
        self._gone = anyio.Event()
        self._read_over = anyio.Event()
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
                    self._begin(tasks)
                    with self._read_scope:
                        await self._read()
                    self._read_over.set()
                    self._end()
                    if self._upkeep is not None:
                        self._upkeep.scope.cancel()
        except Exception as error:  # noqa: BLE001 - a defect of ours ends this connection, not the user's task group
            _log.exception("internal error in %r", self)
            self.error = InternalError(f"the connection failed: {error!r}")
        finally:
            self.closed = True
            self._gone.set()
            self._fail_all(Failure(Status.UNAVAILABLE, str(self.error or "the connection was closed")))
            with anyio.CancelScope(shield=True):
                await self._close_transport()
            self.changed()

    def _begin(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self._write)
        if self._upkeep_settings is not None:
            now = anyio.current_time()
            self.wire.tick(now)
            born = now if self._began is None else self._began
            self._upkeep = Upkeep(self, self._upkeep_settings, born=born, chance=self._chance)
            tasks.start_soon(self._upkeep.run)

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
    def lives(self) -> bool:
        """Whether the end has not begun; a connection that drains lives as long as its calls."""
        return not (self.closed or self._ending)

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

    def drain(self, reason: bytes = b"") -> None:
        """Finish gracefully: open streams go on to their end, new ones are turned away, then the connection closes."""
        self.wire.drain(reason)
        self.wake_writer()
        if self._upkeep is not None:
            self._upkeep.nudge()

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
            self._ending = self.writer.stopping = True
            self._scope.deadline = anyio.current_time() + _FLUSH
            self.wake_writer()
            self.changed()

    def _fail_all(self, failure: Failure) -> None:
        for stream in list(self._streams.values()):
            stream.fail(failure)
        self.writer.dismiss()

    def changed(self) -> None:
        """Tell the owner that something may matter to it."""
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
        self.wire.traffic.opened_at = time()
        if max_message is not None:
            self.wire.streams[stream.id].assembler.limit = max_message
        self._streams[stream.id] = stream
        self.wake_writer()
        if self._exhausted:
            self.changed()
        if self._upkeep is not None and self._upkeep.dormant:
            self._upkeep.nudge()
        return stream

    def release(self, stream: Stream) -> None:
        """Forget a stream whose call is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        wire = self.wire
        wire.release(stream.id)
        if self._upkeep is not None and self._upkeep.counts_idle:
            self._upkeep.released_at = anyio.current_time()
        if self.writer.crowd:
            self.writer.reconsider()
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

    async def _write(self) -> None:
        transport = self._transport
        try:
            await self.writer.run()
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

    # --- the reader ------------------------------------------------------------------------------

    async def _read(self) -> None:
        receive, wire = self._transport.receive, self.wire
        measured = self._upkeep if self._upkeep is not None and self._upkeep.estimator is not None else None
        while True:
            try:
                data = await receive(_CHUNK)
            except anyio.EndOfStream:
                if not self._ending:
                    self._lose("the connection was closed by the peer", None)
                self.deliver(wire.receive_eof())
                return
            except _LOST as error:
                self._lose(f"reading failed: {_describe(error)}", error)
                if not wire.peer.received:  # what came instead of SETTINGS tells more
                    self.deliver(wire.receive_eof())
                return
            now = anyio.current_time()
            wire.tick(now)
            events = wire.receive_data(data)
            if events:
                self.deliver(events)
            if measured is not None:
                measured.received(len(data), now)
            if self.writer.crowd:
                self.writer.reconsider()
            if wire.outbox.pending:
                self.wake_writer()
                if wire.outbox.control_size > wire.guard.limits.control_backlog:
                    await self._flush_control()

    async def _flush_control(self) -> None:
        """Stop reading while the answers that the peer provoked are not leaving (CVE-2019-9512 and kin)."""
        with anyio.move_on_after(_STALL) as stalled:
            await self.writer.flushed()
        if stalled.cancelled_caught:
            self._lose(f"the peer read nothing for {_STALL:.0f} s and went on asking", None)
            self._scope.cancel()

    # --- what the upkeep and the delivery find ---------------------------------------------------

    def flush(self) -> None:
        """Have written what was queued outside of the reader, and end a connection that has nothing left to do."""
        if self.wire.wants_write:
            self.wake_writer()
        if self.wire.drained:
            self._end()

    def give_up(self, message: str, debug: bytes) -> None:
        """End because the peer is gone; should it only seem so, it reads a GOAWAY."""
        if not self._ending:
            self._lose(message, None)
            self.wire.goaway(ErrorCodes.NO_ERROR, debug)
            self._end()

    def failed(self, error: OrbitError) -> None:
        """The peer broke the protocol; a GOAWAY that says so is queued."""
        self.error = error
        self._end()

    def told_goodbye(self, error: OrbitError | None, *, pinged_too_often: bool) -> None:
        """A GOAWAY came; ``error`` is what it says, unless it was in peace."""
        self.error = self.error or error
        self.pinged_too_often = self.pinged_too_often or pinged_too_often
        self.changed()
        if self.wire.drained:
            self._end()

    def answered(self, opaque: bytes) -> None:
        """A PING of ours was answered."""
        if self._upkeep is not None:
            self._upkeep.answered(opaque, self.wire.guard.now)
            self.flush()

    def _lose(self, message: str, cause: BaseException | None) -> None:
        if self.error is None and not self._ending:
            self.error = ConnectionLost(message)
            self.error.__cause__ = cause
        failure = Failure(Status.UNAVAILABLE, str(self.error or message))
        if self.wire.client:
            # What is queued will not be sent any more, so that these streams certainly never reached the peer.
            self.wire.outbox.clear()
            for stream_id, stream in self._streams.items():
                if stream_id >= self.writer.handed:
                    stream.fail(replace(failure, unprocessed=True, unsent=True))
        self._fail_all(failure)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ending" if self._ending else "draining" if not self.usable else "open"
        side = "client" if self.wire.client else "server"
        return f"<Connection {side} {self.peer} {state}, {len(self._streams)} streams>"


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
