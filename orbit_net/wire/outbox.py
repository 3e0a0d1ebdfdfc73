"""What is to be sent: control frames first, then the data of all streams in turn.

One turn of a stream is one frame, so a large message delays a small one on another stream by at most a frame. A stream
whose own window is closed waits outside; when the connection's window is closed, streams with data wait together, and
those that only have to end may still do so.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orbit_net.wire.frames import (
    DATA,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_STREAM,
    headers_frames,
    pack_header,
)

if TYPE_CHECKING:
    from orbit_net.wire.hpack import HeaderEncoder
    from orbit_net.wire.settings import WireSettings
    from orbit_net.wire.stream import Stream

__all__ = ["Outbox"]


class Outbox:
    """The bytes and streams that wait for the writer of one connection.

    ``window`` is the connection's send window, ``grants`` how often the peer opened it. ``finished`` collects streams
    whose last byte has been taken, ``drained`` the watched ones whose queue has fallen to ``low_water``: the connection
    empties both lists after each take.
    """

    __slots__ = (
        "_control",
        "_encoder",
        "_ready",
        "_starved",
        "control_size",
        "data_frames",
        "data_size",
        "drained",
        "finished",
        "grants",
        "high_water",
        "low_water",
        "max_frame_size",
        "window",
    )

    def __init__(self, encoder: HeaderEncoder, settings: WireSettings) -> None:
        self._encoder = encoder
        self._control: list[bytes] = []
        self._ready: deque[Stream] = deque()
        self._starved: dict[int, Stream] = {}
        self.control_size = 0
        self.data_frames = 0
        self.data_size = 0
        self.drained: list[Stream] = []
        self.finished: list[Stream] = []
        self.grants = 0
        self.high_water = settings.connection_high_water
        self.low_water = settings.send_high_water // 2
        self.max_frame_size = DEFAULT_MAX_FRAME_SIZE
        self.window = DEFAULT_WINDOW

    @property
    def crowded(self) -> bool:
        """Whether the streams together have so much queued that the next has to wait for its turn."""
        return self.data_size >= self.high_water

    @property
    def pending(self) -> bool:
        """Whether :meth:`take` would return bytes now."""
        return bool(self._control or self._ready)

    def control(self, frame: bytes) -> None:
        """Queue a frame that no window holds back; HEADERS too, in the order of their encoding."""
        self._control.append(frame)
        self.control_size += len(frame)

    def schedule(self, stream: Stream) -> None:
        """Give a stream that has something to send its place in the row."""
        if not stream.queued and (stream.send_window > 0 or not stream.out_size):
            stream.queued = True
            self._ready.append(stream)

    def drop(self, stream: Stream) -> None:
        """Forget what a stream wanted to send. It leaves the row when its turn comes."""
        self.data_size -= stream.discard_output()
        self._starved.pop(stream.id, None)
        if stream.watched:
            self._tell(stream)

    def clear(self) -> None:
        """Send nothing of what is queued: the connection is lost."""
        self._control.clear()
        self._ready.clear()
        self._starved.clear()
        self.control_size = 0

    def open_window(self, increment: int) -> None:
        """The peer allows ``increment`` more bytes on the connection."""
        self.window += increment
        self.grants += 1
        if self.window > 0 and self._starved:
            self._ready.extend(self._starved.values())
            self._starved.clear()

    def take(self, budget: int) -> bytes:
        """Return what can be sent now: all control frames, then data until ``budget`` bytes are reached."""
        parts: list[bytes | memoryview] = list(self._control)
        self._control.clear()
        self.control_size = 0
        ready = self._ready
        while ready and budget > 0:
            stream = ready.popleft()
            budget -= self._turn(stream, parts)
        return b"".join(parts)

    def _turn(self, stream: Stream, parts: list[bytes | memoryview]) -> int:
        """Let one stream send one frame, and its end when nothing else is left; return the bytes of payload."""
        size = min(stream.out_size, stream.send_window, self.window, self.max_frame_size)
        stream.queued = False
        if stream.out_size:
            if size <= 0:
                self._park(stream)
                return 0
            stream.send_window -= size
            self.window -= size
            self.data_size -= size
            self.data_frames += 1
            payload = stream.cut(size)
            ends = not stream.out_size and stream.tail is not None and stream.tail[0] is None
            parts.append(pack_header(DATA, size, END_STREAM if ends else 0, stream.id))
            parts.extend(payload)
            if stream.watched and stream.out_size <= self.low_water:
                self._tell(stream)
            if ends:
                self._finish(stream)
                return size
            if stream.out_size:
                self.schedule(stream)
                return size
        if stream.tail is not None:
            parts.append(self._end(stream))
            self._finish(stream)
        return max(size, 1)

    def _park(self, stream: Stream) -> None:
        if stream.send_window > 0:
            stream.queued = True
            self._starved[stream.id] = stream

    def _tell(self, stream: Stream) -> None:
        stream.watched = False
        self.drained.append(stream)

    def _end(self, stream: Stream) -> bytes:
        """Encode the end of a stream; only now, because blocks must be encoded in the order of sending."""
        assert stream.tail is not None
        template, extra = stream.tail
        if template is None:
            return pack_header(DATA, 0, END_STREAM, stream.id)
        block = self._encoder.encode(template, extra)
        return headers_frames(stream.id, block, end_stream=True, max_frame_size=self.max_frame_size)

    def _finish(self, stream: Stream) -> None:
        stream.tail = None
        self.finished.append(stream)
