"""What the frames of the peer mean: the receiving half of :class:`orbit_net.wire.Connection`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import RemoteProtocolError
from orbit_net.wire.assembler import MessageError
from orbit_net.wire.events import (
    Event,
    HeadersReceived,
    LateTrailers,
    MessagesReceived,
    StreamEnded,
    StreamFailed,
    TrailersReceived,
)
from orbit_net.wire.frames import (
    END_STREAM,
    MAX_STREAM_ID,
    PADDED,
    reset_frame,
)
from orbit_net.wire.grammar import Input, Phase

if TYPE_CHECKING:
    from orbit_net.wire.connection import Connection
    from orbit_net.wire.hpack import HeaderBlock, HeaderDecoder
    from orbit_net.wire.stream import Stream

__all__ = ["Receiver"]

_ENDING = 2
"""How many times the limit of streams may be alive, those included that the client has reset and whose handlers are
still ending: a client that cancels and calls again at once is honest, one that does nothing else runs into this.
"""


class Receiver:
    """Turns frames into events and into changes of the connection's state.

    ``awaited`` are the streams of a client that were abandoned and released, and whose answer is of interest should it
    have been under way; the driver adds to it. A rule broken on one stream resets that stream; anything else raises
    :class:`RemoteProtocolError`, which ends the connection (RFC 9113 §5.4).
    """

    __slots__ = ("_connection", "_decoder", "_frames", "_guard", "_streams", "awaited", "events")

    def __init__(self, connection: Connection, decoder: HeaderDecoder) -> None:
        self._connection = connection
        self._decoder = decoder
        self._streams = connection.streams
        self._guard = connection.guard
        self.events: list[Event] = []
        self.awaited: set[int] = set()

    # --- DATA ------------------------------------------------------------------------------------

    def data(self, stream_id: int, flags: int, charge: int, data: bytes, start: int, end: int) -> None:
        """Take DATA, or a part of it: ``charge`` flow-controlled bytes, of which ``data[start:end]`` is here."""
        connection = self._connection
        size = end - start
        if not connection.window.charge(charge):
            raise RemoteProtocolError("more DATA than the connection's window", ErrorCodes.FLOW_CONTROL_ERROR)
        stream = self._streams.get(stream_id)
        payload = size if flags & PADDED else charge or size
        if payload or not flags & END_STREAM:
            self._guard.data(payload)
        elif stream is None or stream.receive_phase is Phase.DONE:
            self._guard.rider()  # a half-close that crossed our answer; each open stream may have its own
        if stream is None or stream.deaf:
            self._data_for_nobody(stream, stream_id, flags, charge)
            return
        if not stream.receive_window.charge(charge):
            connection.ledger.drop(charge)
            self.break_stream(stream, ErrorCodes.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
            return
        ends = flags & END_STREAM
        step = connection.receive_grammar.get((stream.receive_phase, Input.DATA_END if ends else Input.DATA))
        if step is None:
            connection.ledger.drop(charge)
            self.break_stream(stream, _misplaced(stream), "DATA where none may be")
            return
        if stream.content_left is not None and not self._within_content(stream, size, ends=ends != 0):
            connection.ledger.drop(charge)
            return
        stream.receive_phase = step
        stream.unread += charge
        readable = not size or self._messages(stream, data, start, end)
        if flags & PADDED:
            connection.ledger.take(stream, charge - size)
        if ends and readable:
            self._ended(stream)
        elif ends:
            self._half_closed(stream)
        if connection.window.available < connection.ledger.dry:
            connection.ledger.relieve()

    def _within_content(self, stream: Stream, size: int, *, ends: bool) -> bool:
        """Hold the peer to its content-length (RFC 9113 §8.1.1); False when it broke its word."""
        assert stream.content_left is not None
        stream.content_left -= size
        if stream.content_left < 0 or (ends and stream.content_left):
            self.break_stream(stream, ErrorCodes.PROTOCOL_ERROR, "the content-length does not match the content")
            return False
        return True

    def _messages(self, stream: Stream, data: bytes, start: int, end: int) -> bool:
        """Report the messages that a payload completes; False when no more can be read from this stream."""
        events = self.events
        last = events[-1] if events else None
        if type(last) is MessagesReceived and last.stream_id == stream.id:
            messages, new = last.messages, None
        else:
            messages = []
            new = MessagesReceived(stream.id, messages)
        assembler = stream.assembler
        try:
            assembler.feed(data, start, end, messages)
        except MessageError as error:
            self._add(new)
            self._stop_reading(stream)
            events.append(StreamFailed(stream.id, error.status, error.reason))
            return False
        self._add(new)
        if messages:
            stream.wanted = False
        elif stream.wanted and assembler.missing:
            self._connection.ledger.lend(stream)
        return True

    def _add(self, event: MessagesReceived | None) -> None:
        if event is not None and event.messages:
            self.events.append(event)

    def _stop_reading(self, stream: Stream) -> None:
        """Drop whatever else comes; what is counted as unread beyond whole messages is returned with the release."""
        stream.deaf = True

    def _ended(self, stream: Stream) -> None:
        if not stream.assembler.between_messages:
            self._stop_reading(stream)
            reason = "the stream ended in the middle of a message"
            self.events.append(StreamFailed(stream.id, Status.INTERNAL, reason))
        else:
            self.events.append(StreamEnded(stream.id))
        self._half_closed(stream)

    def _half_closed(self, stream: Stream) -> None:
        if stream.closed:
            self._connection.close(stream)

    def _data_for_nobody(self, stream: Stream | None, stream_id: int, flags: int, charge: int) -> None:
        connection = self._connection
        if stream is None:
            self.check_not_idle(stream_id, "DATA")
        connection.ledger.drop(charge)
        if stream is not None and flags & END_STREAM and stream.receive_phase is not Phase.DONE:
            stream.receive_phase = Phase.DONE
            self._half_closed(stream)

    # --- HEADERS ---------------------------------------------------------------------------------

    def headers(self, stream_id: int, block: bytes, ends: bool) -> None:
        """Take a header block. It is decoded even when nobody wants it: the table must stay in step."""
        decoded = self._decoder.decode(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._headers_without_stream(stream_id, decoded, ends)
            return
        self._guard.useful += 1
        if stream.deaf:
            if ends and stream.receive_phase is not Phase.DONE:
                stream.receive_phase = Phase.DONE
                self._half_closed(stream)
        elif self._connection.client:
            self._response(stream, decoded, ends)
        else:
            self._request_trailers(stream, decoded, ends)

    def _headers_without_stream(self, stream_id: int, block: HeaderBlock, ends: bool) -> None:
        connection = self._connection
        if connection.client:
            self.check_not_idle(stream_id, "HEADERS")
            self._guard.rider()  # late answers to calls that we reset
            if ends and stream_id in self.awaited:
                self.awaited.discard(stream_id)
                self.events.append(LateTrailers(stream_id, block))
            return
        if not stream_id & 1:
            raise RemoteProtocolError(f"a client may not open stream {stream_id}")
        if stream_id <= connection.highest_peer_stream_id:
            self._guard.rider()  # trailers of a request that we answered early
            return
        self._guard.useful += 1
        connection.highest_peer_stream_id = stream_id
        if connection.goaway_sent is not None and connection.goaway_sent != MAX_STREAM_ID:
            self._guard.reset()
            return  # RFC 9113 §6.8: streams above the announced id are ignored
        connection.last_peer_stream_id = stream_id
        limit = connection.settings.max_concurrent_streams
        if connection.open_streams >= limit or len(self._streams) >= _ENDING * limit:
            self._guard.reset()
            connection.outbox.control(reset_frame(stream_id, ErrorCodes.REFUSED_STREAM))
            return
        self._request(connection.add_stream(stream_id), block, ends)

    def _request(self, stream: Stream, block: HeaderBlock, ends: bool) -> None:
        fault = block.fault or _request_fault(block)
        if fault is None and ends and block.content_length:
            fault = "a content-length without content"
        if fault is not None:
            stream.released = True
            self.break_stream(stream, ErrorCodes.PROTOCOL_ERROR, fault, report=False)
            return
        stream.content_left = block.content_length
        stream.receive_phase = Phase.DONE if ends else Phase.OPEN
        if block.encoding is not None:
            stream.assembler.compression_allowed = True
        self.events.append(HeadersReceived(stream.id, block))
        if ends:
            self.events.append(StreamEnded(stream.id))

    def _request_trailers(self, stream: Stream, block: HeaderBlock, ends: bool) -> None:
        step = self._connection.receive_grammar.get(
            (stream.receive_phase, Input.HEADERS_END if ends else Input.HEADERS)
        )
        if step is None:
            self.break_stream(stream, _misplaced(stream), "HEADERS where none may be")
            return
        if stream.content_left is not None and not self._within_content(stream, 0, ends=True):
            return
        if block.fault is not None or block.pseudo:
            self.break_stream(stream, ErrorCodes.PROTOCOL_ERROR, block.fault or "pseudo headers in trailers")
            return
        stream.receive_phase = step
        self._ended(stream)

    def _response(self, stream: Stream, block: HeaderBlock, ends: bool) -> None:
        informational = not ends and block.pseudo.get(b":status", b"")[:1] == b"1"
        kind = Input.HEADERS_END if ends else Input.INFORMATIONAL if informational else Input.HEADERS
        first = stream.receive_phase is Phase.START
        step = self._connection.receive_grammar.get((stream.receive_phase, kind))
        if step is None:
            self.break_stream(stream, _misplaced(stream), "HEADERS where none may be")
            return
        fault = block.fault or _response_fault(block, first=first, ends=ends)
        if fault is not None:
            self.break_stream(stream, ErrorCodes.PROTOCOL_ERROR, fault)
            return
        limit = self._connection.settings.max_header_list
        if block.size > limit:
            text = f"{block.size} bytes of headers are more than the limit of {limit}"
            self.break_stream(stream, ErrorCodes.CANCEL, text, status=Status.RESOURCE_EXHAUSTED)
            return
        if kind is Input.INFORMATIONAL:
            self._guard.control()
            return
        if first:
            stream.content_left = block.content_length
        if ends and stream.content_left is not None and not self._within_content(stream, 0, ends=True):
            return
        stream.receive_phase = step
        if not ends:
            if block.encoding is not None:
                stream.assembler.compression_allowed = True
            self.events.append(HeadersReceived(stream.id, block))
            return
        if not stream.assembler.between_messages:
            self._stop_reading(stream)
            text = "the response ended in the middle of a message"
            self.events.append(StreamFailed(stream.id, Status.INTERNAL, text))
        else:
            self.events.append(TrailersReceived(stream.id, block))
            if not block.ok:
                self._connection.traffic.refused += 1
        self._half_closed(stream)

    # --- errors, for the control frames too ------------------------------------------------------

    def check_not_idle(self, stream_id: int, what: str) -> None:
        """Refuse frames for streams that were never opened, by either side (RFC 9113 §5.1)."""
        connection = self._connection
        ours = connection.client
        known = connection.next_stream_id - 2 if ours else connection.highest_peer_stream_id
        if not stream_id or not stream_id & 1 or stream_id > known:
            raise RemoteProtocolError(f"{what} on stream {stream_id}, which was never opened")

    def break_stream(
        self,
        stream: Stream,
        error_code: ErrorCodes,
        reason: str,
        *,
        status: Status = Status.INTERNAL,
        report: bool = True,
    ) -> None:
        """End one stream for an error of the peer on it."""
        self._guard.reset()
        if report and not (stream.closed or stream.deaf):
            self.events.append(StreamFailed(stream.id, status, reason, reset=True))
        self._connection.outbox.control(reset_frame(stream.id, error_code))
        self._connection.abandon(stream)


def _misplaced(stream: Stream) -> ErrorCodes:
    """Return the error for a frame out of order: after the end of the peer's direction (§5.1), or before it (§8.1)."""
    return ErrorCodes.STREAM_CLOSED if stream.receive_phase is Phase.DONE else ErrorCodes.PROTOCOL_ERROR


def _request_fault(block: HeaderBlock) -> str | None:
    """Say what makes a request malformed (RFC 9113 §8.3.1)."""
    pseudo = block.pseudo
    for name in (b":method", b":scheme", b":path"):
        if not pseudo.get(name):
            return f"a request without {name.decode()}"
    unknown = pseudo.keys() - {b":method", b":scheme", b":path", b":authority"}
    return f"an unknown pseudo header {min(unknown)!r}" if unknown else None


def _response_fault(block: HeaderBlock, *, first: bool, ends: bool) -> str | None:
    """Say what makes a response or its trailers malformed (RFC 9113 §8.1, §8.3.2)."""
    if not first:
        return "pseudo headers in trailers" if block.pseudo else None
    if block.pseudo.keys() != {b":status"}:
        return "a response without :status, or with another pseudo header"
    status = block.pseudo[b":status"]
    if ends and status[:1] == b"1":
        return "an informational response that ends the stream"
    return None if len(status) == 3 and status.isdigit() else f":status is {status!r}"
