"""What the frames of the peer mean that are neither DATA nor headers: settings, resets, pings, windows, goodbyes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import RemoteProtocolError
from orbit_net.wire.events import (
    GoAwayReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamFailed,
    StreamReset,
)
from orbit_net.wire.frames import (
    ACK,
    GOAWAY,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ping_frame,
    settings_frame,
)
from orbit_net.wire.grammar import Phase
from orbit_net.wire.settings import parse_settings

if TYPE_CHECKING:
    from orbit_net.wire.connection import Connection
    from orbit_net.wire.receiver import Receiver

__all__ = ["ControlFrames"]

_PAIRS: Final = 64
"""So many settings count as a frame of their own: a frame may hold thousands, and each costs as much as a ping."""


class ControlFrames:
    """Handles one frame a call; raises :class:`RemoteProtocolError` for what ends the connection."""

    __slots__ = ("_connection", "_frames", "_guard", "_receiver", "_streams")

    def __init__(self, connection: Connection, receiver: Receiver) -> None:
        self._connection = connection
        self._receiver = receiver
        self._streams = connection.streams
        self._guard = connection.guard
        self._frames = {
            PRIORITY: self._priority,
            RST_STREAM: self._reset,
            SETTINGS: self._settings,
            PUSH_PROMISE: self._push_promise,
            PING: self._ping,
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window_update,
        }

    def frame(self, kind: int, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Take a frame that is neither DATA nor part of a header block."""
        handle = self._frames.get(kind)
        if handle is None:
            self._guard.control()  # RFC 9113 §5.5: unknown types are ignored
        else:
            handle(flags, stream_id, data, start, end)

    def _priority(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        self._guard.control()
        if not stream_id:
            raise RemoteProtocolError("PRIORITY on stream 0")
        if end - start != 5:
            raise RemoteProtocolError("a PRIORITY frame is not 5 bytes long", ErrorCodes.FRAME_SIZE_ERROR)

    def _push_promise(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        raise RemoteProtocolError("PUSH_PROMISE, which was never allowed")

    def _reset(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        error_code = _word(data, start, end, "RST_STREAM")
        stream = self._streams.get(stream_id)
        if stream is None:
            self._receiver.check_not_idle(stream_id, "RST_STREAM")
        if stream is None or stream.closed:
            self._guard.rider()
            return
        if not self._connection.client:
            self._guard.reset()
        done = stream.receive_phase is Phase.DONE and error_code == ErrorCodes.NO_ERROR and self._connection.client
        told = stream.deaf
        self._connection.abandon(stream)
        if not (done or told):
            self._receiver.events.append(StreamReset(stream_id, error_code))

    def _settings(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        connection = self._connection
        if stream_id:
            raise RemoteProtocolError(f"SETTINGS on stream {stream_id}")
        if flags & ACK:
            if start != end:
                raise RemoteProtocolError("SETTINGS acknowledgement with a payload", ErrorCodes.FRAME_SIZE_ERROR)
            self._settings_acknowledged()
            return
        first = not connection.peer.received
        pairs = parse_settings(data, start, end)
        for _ in range(int(first), 1 + len(pairs) // _PAIRS):
            self._guard.control()
        before = connection.peer.initial_window
        connection.peer.apply(pairs)
        self._shift_windows(connection.peer.initial_window - before)
        connection.encoder.limit_table(connection.peer.header_table_size)
        connection.outbox.max_frame_size = min(connection.peer.max_frame_size, connection.settings.max_frame_size)
        connection.outbox.control(settings_frame(ack=True))
        self._receiver.events.append(SettingsReceived(first))

    def _settings_acknowledged(self) -> None:
        connection = self._connection
        if not connection.settings_due:
            self._guard.control()
            return
        connection.settings_due -= 1
        if connection.settings_acknowledged:
            return
        connection.settings_acknowledged = True
        # Until now the peer may have counted with the protocol's default window, if that is larger than ours.
        if connection.stream_window != connection.settings.stream_window:
            connection.stream_window = connection.settings.stream_window
            for stream in self._streams.values():
                stream.receive_window.resize(connection.stream_window)

    def _shift_windows(self, difference: int) -> None:
        """Apply a new SETTINGS_INITIAL_WINDOW_SIZE to the open streams; it may make a window negative (§6.9.2)."""
        if not difference:
            return
        for stream in self._streams.values():
            stream.send_window += difference
            if stream.send_window > MAX_WINDOW:
                raise RemoteProtocolError("a setting makes a window overflow", ErrorCodes.FLOW_CONTROL_ERROR)
            if stream.out_size or stream.tail is not None:
                self._connection.outbox.schedule(stream)

    def _ping(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        if stream_id:
            raise RemoteProtocolError(f"PING on stream {stream_id}")
        if end - start != 8:
            raise RemoteProtocolError(f"PING of {end - start} bytes", ErrorCodes.FRAME_SIZE_ERROR)
        opaque = data[start:end]
        if not flags & ACK:
            self._guard.ping(calls=self._connection.open_streams > 0)
            self._connection.outbox.control(ping_frame(opaque, ack=True))
            return
        if self._connection.goodbye.ping_acknowledged(opaque):
            self._receiver.events.append(PingAcknowledged(opaque))
        else:
            self._guard.control()

    def _goaway(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        connection = self._connection
        if stream_id:
            raise RemoteProtocolError(f"GOAWAY on stream {stream_id}")
        if end - start < 8:
            raise RemoteProtocolError(f"GOAWAY of {end - start} bytes", ErrorCodes.FRAME_SIZE_ERROR)
        self._guard.control()
        last = int.from_bytes(data[start : start + 4], "big") & MAX_STREAM_ID
        error_code = int.from_bytes(data[start + 4 : start + 8], "big")
        if connection.goaway_received is not None and last > connection.goaway_received:
            raise RemoteProtocolError("GOAWAY with a higher id than the one before")
        connection.goaway_received = last
        connection.traffic.goaway = error_code
        if connection.client:
            self._fail_unprocessed(last)
        self._receiver.events.append(GoAwayReceived(last, error_code, data[start + 8 : end]))

    def _fail_unprocessed(self, last: int) -> None:
        for stream in [stream for stream in self._streams.values() if stream.id > last and not stream.closed]:
            told = stream.deaf
            self._connection.abandon(stream)
            reason = "the server went away before it saw the call"
            if not told:
                self._receiver.events.append(StreamFailed(stream.id, Status.UNAVAILABLE, reason, unprocessed=True))

    def _window_update(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        increment = _word(data, start, end, "WINDOW_UPDATE") & MAX_WINDOW
        connection = self._connection
        self._guard.window_update()
        if not stream_id:
            if not increment:
                raise RemoteProtocolError("WINDOW_UPDATE of 0")
            if connection.outbox.window + increment > MAX_WINDOW:
                raise RemoteProtocolError("the connection's window overflows", ErrorCodes.FLOW_CONTROL_ERROR)
            connection.outbox.open_window(increment)
            return
        stream = self._streams.get(stream_id)
        if stream is None or stream.closed:
            if stream is None:
                self._receiver.check_not_idle(stream_id, "WINDOW_UPDATE")
            return
        if not increment:
            self._receiver.break_stream(stream, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        elif stream.send_window + increment > MAX_WINDOW:
            self._receiver.break_stream(stream, ErrorCodes.FLOW_CONTROL_ERROR, "the stream's window overflows")
        else:
            stream.send_window += increment
            stream.grants += 1
            if stream.out_size:
                connection.outbox.schedule(stream)


def _word(data: bytes, start: int, end: int, what: str) -> int:
    if end - start != 4:
        raise RemoteProtocolError(f"{what} of {end - start} bytes, not 4", ErrorCodes.FRAME_SIZE_ERROR)
    return int.from_bytes(data[start:end], "big")
