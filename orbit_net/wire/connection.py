"""Bytes in, events out; intentions in, bytes out: one HTTP/2 connection that carries gRPC.

Theory of operation. :meth:`Connection.receive_data` takes whatever the network delivered and returns events; methods
named after intentions (``send_message``, ``reset_stream``, …) queue frames; :meth:`Connection.data_to_send` hands out
what may be sent now. Nothing here waits, asks the time, or draws a random number. What the peer does wrong ends as one
:class:`~orbit_net.wire.events.ConnectionFailed` with a GOAWAY queued, or as a
:class:`~orbit_net.wire.events.StreamFailed`; what our caller does wrong raises
:class:`~orbit_net.errors.LocalProtocolError` and changes nothing.

A stream lives from its first HEADERS until it is closed on the wire *and* released by the driver. So the driver always
finds the stream that an event names, unread bytes are accounted for until nobody can read them, and a server counts a
stream until its handler has ended, not only until the peer resets it (CVE-2023-44487).
Source: RFC 9113; gRPC over HTTP/2. Left out on purpose: push, priorities, upgrade.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from orbit_net.errors import LocalProtocolError, RemoteProtocolError
from orbit_net.wire.assembler import CompressedMessage, pack_prefix
from orbit_net.wire.control import ControlFrames
from orbit_net.wire.frames import (
    DEFAULT_WINDOW,
    MAX_STREAM_ID,
    PREFACE,
    headers_frames,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from orbit_net.wire.goodbye import Goodbye
from orbit_net.wire.grammar import REQUEST, RESPONSE, Input, Phase
from orbit_net.wire.hpack import HeaderDecoder, HeaderEncoder, HeaderTemplate, list_size
from orbit_net.wire.ledger import Ledger
from orbit_net.wire.limits import FloodGuard, FloodLimits
from orbit_net.wire.outbox import Outbox
from orbit_net.wire.reader import FrameReader
from orbit_net.wire.receiver import Receiver
from orbit_net.wire.settings import PeerSettings, WireSettings
from orbit_net.wire.stream import END, Stream
from orbit_net.wire.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.wire.events import Event
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.keepalive import PingStrikes

__all__ = ["Connection"]

_SEND_BUDGET: Final = 65_536


class Connection:
    """One end of one connection.

    ``client`` says which end, ``strikes`` judges the peer's pings. The queue is not empty from the start: the preface
    and our SETTINGS are in it.
    """

    def __init__(
        self,
        *,
        client: bool,
        settings: WireSettings | None = None,
        limits: FloodLimits | None = None,
        strikes: PingStrikes | None = None,
    ) -> None:
        self.client = client
        self.settings = settings or WireSettings()
        self.peer = PeerSettings(peer_is_client=not client)
        self.streams: dict[int, Stream] = {}
        self.open_streams = 0
        self.traffic = Traffic()
        self.next_stream_id = 1
        self.last_peer_stream_id = 0
        self.highest_peer_stream_id = 0
        self.failure: RemoteProtocolError | None = None
        self.goaway_received: int | None = None
        self.goodbye = Goodbye(self)
        self.settings_acknowledged = False
        self.settings_due = 1
        self.stream_window = max(self.settings.stream_window, DEFAULT_WINDOW)
        self.guard = FloodGuard(limits or FloodLimits(), strikes)
        self.encoder = HeaderEncoder()
        self.outbox = Outbox(self.encoder, self.settings)
        self.ledger = Ledger(self.settings.connection_window, self.stream_window, self.streams, self.outbox)
        self.window = self.ledger.window
        self.send_grammar, self.receive_grammar = (REQUEST, RESPONSE) if client else (RESPONSE, REQUEST)
        self.receiver = Receiver(self, HeaderDecoder(2 * self.settings.max_header_list))
        self._reader = FrameReader(
            from_client=not client,
            max_frame=self.settings.max_frame_size,
            max_block=2 * self.settings.max_header_list,
            max_continuations=self.guard.limits.continuations,
            on_data=self.receiver.data,
            on_headers=self.receiver.headers,
            on_frame=ControlFrames(self, self.receiver).frame,
        )
        if client:
            self.outbox.control(PREFACE)
        self.outbox.control(settings_frame(self.settings.pairs(client=client)))
        if extra := self.settings.connection_window - DEFAULT_WINDOW:
            self.outbox.control(window_update_frame(0, extra))

    # --- what the network says -------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Tell the time, in seconds of any monotonic clock: the flood limits refill with it."""
        self.guard.now = self._reader.now = now

    @property
    def unfinished_since(self) -> float | None:
        """When a frame other than DATA, or a header block, began that is not complete; None where none is."""
        return self._reader.unfinished_since

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the peer and return what they mean. Never raises, whatever the bytes."""
        if self.failure is not None:
            return []
        events = self.receiver.events = []
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            events += self.fail(error)
        return events

    def fail(self, error: RemoteProtocolError) -> list[Event]:
        """End the connection for a fault of the peer; the clock may have brought it to light, and not the bytes."""
        return [] if self.failure is not None else self.goodbye.fail(error)

    def receive_eof(self) -> list[Event]:
        """The peer closed its side: every stream that is still open fails."""
        events: list[Event] = []
        if self.failure is None:
            start = self._reader.describe_start()
            if start is not None:
                events += self.fail(RemoteProtocolError(start))
            elif self._reader.inside_frame:
                events += self.fail(RemoteProtocolError("the connection ended in the middle of a frame"))
        return events + self.goodbye.fail_streams("the connection was closed by the peer")

    # --- what the application intends ------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        """Whether a client may open a stream now."""
        return (
            self.client
            and self.goaway_received is None
            and self.failure is None
            and self.open_streams < self.peer.max_concurrent_streams
            and self.next_stream_id <= MAX_STREAM_ID
        )

    def open_stream(self, template: HeaderTemplate, extra: Sequence[Field] = (), early: Sequence[Field] = ()) -> int:
        """Send the headers of a new request and return the id of its stream; ``early`` follows the pseudo headers."""
        if not self.can_open:
            raise LocalProtocolError("no stream can be opened on this connection now")
        self._check_list_size(template, (*extra, *early))
        stream = self.add_stream(self.next_stream_id)
        self.next_stream_id += 2
        self.guard.call_opened()
        self._send_headers(stream, template, extra, early)
        return stream.id

    def send_headers(self, stream_id: int, template: HeaderTemplate, extra: Sequence[Field] = ()) -> None:
        """Send the headers of a response."""
        stream = self._stream(stream_id)
        self._check_list_size(template, extra)
        self._send_headers(stream, template, extra)

    def send_message(self, stream_id: int, message: bytes, *, end: bool = False) -> bool:
        """Queue one message, flagged if it is a :class:`CompressedMessage`; ``end`` closes our direction after it.

        Returns False when the stream's queue is above the high-water mark: then wait for :meth:`take_drained` to name
        it.
        """
        stream = self._stream(stream_id)
        step = self.send_grammar.get((stream.send_phase, Input.DATA_END if end else Input.DATA))
        if step is None:
            raise LocalProtocolError(f"a message may not be sent now on {stream!r}")
        stream.send_phase = step
        size = len(message) + 5
        stream.out.append(pack_prefix(type(message) is CompressedMessage, size - 5))
        if message:
            stream.out.append(message)
        stream.out_size += size
        if end:
            stream.tail = END
        outbox = self.outbox
        outbox.data_size += size
        self.traffic.messages_sent += 1
        if not stream.queued:
            outbox.schedule(stream)
        return stream.out_size <= self.settings.send_high_water

    def send_end(self, stream_id: int) -> None:
        """Close our direction without trailers: the end of a request."""
        stream = self._stream(stream_id)
        step = self.send_grammar.get((stream.send_phase, Input.DATA_END))
        if step is None:
            raise LocalProtocolError(f"the stream may not be ended now: {stream!r}")
        stream.send_phase = step
        stream.tail = END
        self.outbox.schedule(stream)

    def send_trailers(self, stream_id: int, template: HeaderTemplate, extra: Sequence[Field] = ()) -> None:
        """End a response with its status; without headers before it, this is a trailers-only response."""
        stream = self._stream(stream_id)
        step = self.send_grammar.get((stream.send_phase, Input.HEADERS_END))
        if step is None:
            raise LocalProtocolError(f"trailers may not be sent now on {stream!r}")
        self._check_list_size(template, extra)
        stream.send_phase = step
        stream.tail = (template, extra)
        self.outbox.schedule(stream)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """Abandon a stream: nothing more is sent, and what still arrives is dropped. No effect on a closed one."""
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self.abandon(stream)
            self.outbox.control(reset_frame(stream_id, error_code))

    def release(self, stream_id: int) -> None:
        """Say that the application is done with a stream.

        What it left unread returns to the connection's window. A stream that is still open is reset, except for a
        response that only has to be flushed.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.released:
            return
        stream.released = True
        self.ledger.settle(stream)
        if stream.closed:
            del self.streams[stream_id]
        elif self.client or stream.send_phase is not Phase.DONE:
            done = self.client and stream.receive_phase is Phase.DONE
            self.reset_stream(stream_id, ErrorCodes.NO_ERROR if done else ErrorCodes.CANCEL)
        else:
            stream.deaf = True

    def return_credit(self, stream_id: int, size: int) -> bool:
        """Say that the application took ``size`` bytes; True when a WINDOW_UPDATE was queued for it."""
        stream = self.streams.get(stream_id)
        return stream is not None and self.ledger.take(stream, size)

    def expect_message(self, stream_id: int) -> bool:
        """Say that the application waits for the next message: one larger than the window is granted the rest.

        Returns True when a WINDOW_UPDATE was queued.
        """
        stream = self.streams.get(stream_id)
        return stream is not None and stream.receive_phase is not Phase.DONE and self.ledger.expect(stream)

    def grow_windows(self, size: int) -> None:
        """Let the peer have ``size`` bytes on the way, on each stream and on the connection; windows never shrink."""
        self.ledger.grow_connection(size)
        if size > self.stream_window and self.settings_acknowledged:
            self.settings_due += 1
            self.stream_window = self.ledger.loan = size
            for stream in self.streams.values():
                stream.receive_window.resize(size)
            self.outbox.control(settings_frame([(SettingCodes.INITIAL_WINDOW_SIZE.value, size)]))

    def ping(self, opaque: bytes) -> None:
        """Send a PING with eight bytes; the answer comes as an event."""
        self.goodbye.ping(opaque)

    def drain(self, reason: bytes = b"") -> None:
        """Begin a graceful end: refuse no stream that is on its way, take no new one after a round trip.

        GOAWAY with the highest id, a PING, and when its answer is here GOAWAY with the last id (RFC 9113 §6.8).
        """
        if self.failure is None:
            self.goodbye.begin(reason)

    def goaway(self, error_code: int = ErrorCodes.NO_ERROR, debug_data: bytes = b"") -> None:
        """Take no new streams from now on, and say why."""
        if self.failure is None:
            self.goodbye.say(error_code, debug_data)

    @property
    def goaway_sent(self) -> int | None:
        """The last stream id of our last GOAWAY, or None."""
        return self.goodbye.sent

    @property
    def drained(self) -> bool:
        """Whether this end has said goodbye and has no stream left."""
        told = self.goaway_received is not None if self.client else self.goaway_sent not in (None, MAX_STREAM_ID)
        return told and not self.streams

    # --- what is to be sent ----------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        """Whether :meth:`data_to_send` would return bytes now."""
        return self.outbox.pending

    def data_to_send(self, budget: int = _SEND_BUDGET) -> bytes:
        """Return the bytes to write now: all control frames and about ``budget`` bytes of data; empty for none."""
        outbox = self.outbox
        data = outbox.take(budget)
        if outbox.data_frames:
            self.guard.data_sent(outbox.data_frames)
            outbox.data_frames = 0
        if outbox.finished:
            for stream in outbox.finished:
                self._finish(stream)
            outbox.finished.clear()
        return data

    def take_drained(self) -> list[int]:
        """Return the ids of watched streams that have room again since the last call."""
        drained, self.outbox.drained = self.outbox.drained, []
        return [stream.id for stream in drained]

    def watch(self, stream_id: int) -> bool:
        """Ask for this stream to be named by :meth:`take_drained`; False when it has room already."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.out_size <= self.settings.send_high_water:
            return False
        stream.watched = True
        return True

    def _finish(self, stream: Stream) -> None:
        """Our direction has been sent to its end; a server does not wait for the rest of the request."""
        self.guard.call_completed()
        if stream.receive_phase is not Phase.DONE:
            if self.client:
                return
            # gRPC over HTTP/2: a server that ends early says that the rest of the request is not needed.
            self.outbox.control(reset_frame(stream.id, ErrorCodes.NO_ERROR))
            stream.receive_phase = Phase.DONE
            stream.deaf = True
        self.close(stream)

    def add_stream(self, stream_id: int) -> Stream:
        """Begin a stream."""
        stream = Stream(stream_id, self.peer.initial_window, self.stream_window, self.settings.max_message)
        self.streams[stream_id] = stream
        self.open_streams += 1
        self.traffic.opened += 1
        return stream

    def abandon(self, stream: Stream) -> None:
        """End both directions at once, without a frame; that is a failure unless the response was complete."""
        if stream.closed:
            return
        self.traffic.failed += not (self.client and stream.receive_phase is Phase.DONE)
        self.outbox.drop(stream)
        stream.send_phase = stream.receive_phase = Phase.DONE
        stream.deaf = True
        self.close(stream)

    def close(self, stream: Stream) -> None:
        """Account for a stream that has just closed."""
        self.open_streams -= 1
        if stream.released:
            self.ledger.settle(stream)
            del self.streams[stream.id]

    def _stream(self, stream_id: int) -> Stream:
        stream = self.streams.get(stream_id)
        if stream is None:
            raise LocalProtocolError(f"stream {stream_id} is closed")
        return stream

    def _send_headers(
        self, stream: Stream, template: HeaderTemplate, extra: Sequence[Field], early: Sequence[Field] = ()
    ) -> None:
        step = self.send_grammar.get((stream.send_phase, Input.HEADERS))
        if step is None or stream.send_phase is not Phase.START:
            raise LocalProtocolError(f"headers may not be sent now on {stream!r}")
        stream.send_phase = step
        self.guard.answered = True
        block = self.encoder.encode(template, extra, early)
        self.outbox.control(
            headers_frames(stream.id, block, end_stream=False, max_frame_size=self.outbox.max_frame_size)
        )

    def _check_list_size(self, template: HeaderTemplate, extra: Sequence[Field]) -> None:
        limit = self.peer.max_header_list
        if extra and limit is not None:
            size = template.size + list_size(extra)
            if size > limit:
                raise LocalProtocolError(f"{size} bytes of headers; the peer accepts {limit}")

    def __repr__(self) -> str:
        side = "client" if self.client else "server"
        state = "failed" if self.failure else "draining" if self.goaway_sent or self.goaway_received else "open"
        return f"<wire.Connection {side} {state}, {self.open_streams} streams, {self.outbox.data_size} bytes queued>"
