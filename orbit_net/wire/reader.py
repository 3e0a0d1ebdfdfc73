"""Received bytes to frames: one pass over each chunk.

Only a frame header or a small frame that a chunk cuts in two is buffered; DATA is passed on as it comes, so a payload
is copied once, when its message is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from orbit_net.errors import RemoteProtocolError
from orbit_net.wire import handshake
from orbit_net.wire.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_SIZE,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    unpack_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FrameReader"]

_ID_MASK = 0x7FFFFFFF


class FrameReader:
    """Cuts the byte stream of one peer into frames and hands them on.

    ``on_data(stream_id, flags, charge, data, start, end)`` may come several times for one frame: the first call charges
    the whole flow-controlled length, the last one carries END_STREAM. ``on_headers(stream_id, block, end_stream)``
    comes once for a header block, whatever number of frames it took. ``on_frame(type, flags, stream_id, data, start,
    end)`` takes the rest.

    ``unfinished_since`` is the ``now`` at which a frame other than DATA, or a header block, began that is not complete.
    """

    __slots__ = (
        "_block",
        "_block_frames",
        "_block_stream",
        "_data_flags",
        "_data_left",
        "_data_stream",
        "_from_client",
        "_max_block",
        "_max_continuations",
        "_max_frame",
        "_needed",
        "_on_data",
        "_on_frame",
        "_on_headers",
        "_started",
        "_tail",
        "now",
        "unfinished_since",
    )

    def __init__(
        self,
        *,
        from_client: bool,
        max_frame: int,
        max_block: int,
        max_continuations: int,
        on_data: Callable[[int, int, int, bytes, int, int], None],
        on_headers: Callable[[int, bytes, bool], None],
        on_frame: Callable[[int, int, int, bytes, int, int], None],
    ) -> None:
        self._from_client = from_client
        self._max_frame = max_frame
        self._max_block = max_block
        self._max_continuations = max_continuations
        self._on_data = on_data
        self._on_headers = on_headers
        self._on_frame = on_frame
        self._started = False
        self._tail = bytearray()
        self._needed = 1
        self._data_left = 0
        self._data_flags = 0
        self._data_stream = 0
        self._block = bytearray()
        self._block_frames = 0
        self._block_stream = 0
        self.now = 0.0
        self.unfinished_since: float | None = None

    @property
    def inside_frame(self) -> bool:
        """Whether the bytes so far end in the middle of a frame or of a header block."""
        return bool(self._tail or self._data_left or self._block_stream)

    def describe_start(self) -> str | None:
        """Say what the peer speaks, if all that it ever sent is less than the beginning of a connection."""
        if self._started or not self._tail:
            return None
        describe = handshake.describe_cut_client if self._from_client else handshake.describe_cut_server
        return describe(bytes(self._tail))

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raises :class:`RemoteProtocolError` at the first that cannot be."""
        if self._tail:
            self._tail += data
            if len(self._tail) < self._needed:
                return
            data = bytes(self._tail)
            self._tail.clear()
            if not self._block_stream:
                self.unfinished_since = None
        position = 0 if self._started else self._start(data)
        if position < 0:
            return
        size = len(data)
        if self._data_left and position < size:
            position = self._continue_data(data, position)
        while size - position >= FRAME_HEADER_SIZE:
            word, flags, stream_id = unpack_header(data, position)
            length = word >> 8
            kind = word & 0xFF
            stream_id &= _ID_MASK
            if length > self._max_frame:
                raise RemoteProtocolError(
                    f"a frame of {length} bytes, the limit is {self._max_frame}", ErrorCodes.FRAME_SIZE_ERROR
                )
            if self._block_stream and (kind != CONTINUATION or stream_id != self._block_stream):
                raise RemoteProtocolError(
                    f"frame of type {kind} inside the header block of stream {self._block_stream}"
                )
            start = position + FRAME_HEADER_SIZE
            end = start + length
            if end > size:
                if kind == DATA and not flags & PADDED:
                    self._begin_data(stream_id, flags, length, data, start)
                    return
                self._needed = FRAME_HEADER_SIZE + length
                break
            position = end
            if kind == DATA:
                if flags & PADDED:
                    self._padded_data(stream_id, flags, data, start, end)
                else:
                    self._on_data(stream_id, flags, length, data, start, end)
            elif kind == HEADERS:
                self._headers(stream_id, flags, data, start, end)
            elif kind == CONTINUATION:
                self._continuation(stream_id, flags, data, start, end)
            else:
                self._on_frame(kind, flags, stream_id, data, start, end)
        else:
            self._needed = FRAME_HEADER_SIZE
        if position < size:
            self._tail += data[position:]
            self._unfinished()

    def _unfinished(self) -> None:
        if self.unfinished_since is None:
            self.unfinished_since = self.now

    def _start(self, data: bytes) -> int:
        """Check how the peer begins; return where its first frame starts, or -1 when more bytes must tell."""
        preface = PREFACE if self._from_client else b""
        needed = len(preface) + FRAME_HEADER_SIZE
        if not preface.startswith(data[: len(preface)]):
            needed = handshake.TELLING
            if len(data) >= needed:
                raise RemoteProtocolError(handshake.describe_client(data))
        if len(data) < needed:
            self._tail += data
            return -1
        if not handshake.is_settings(data[len(preface) :]):
            if self._from_client:
                raise RemoteProtocolError("the first frame of a client must be SETTINGS")
            raise RemoteProtocolError(handshake.describe_server(data))
        self._started = True
        return len(preface)

    def _begin_data(self, stream_id: int, flags: int, length: int, data: bytes, start: int) -> None:
        size = len(data)
        self._data_left = length - (size - start)
        self._data_stream = stream_id
        self._data_flags = flags
        self._on_data(stream_id, flags & ~END_STREAM, length, data, start, size)

    def _continue_data(self, data: bytes, position: int) -> int:
        end = min(len(data), position + self._data_left)
        self._data_left -= end - position
        flags = self._data_flags if not self._data_left else self._data_flags & ~END_STREAM
        self._on_data(self._data_stream, flags, 0, data, position, end)
        return end

    def _padded_data(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        first, last = _unpad(data, start, end)
        self._on_data(stream_id, flags, end - start, data, first, last)

    def _headers(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        if flags & PADDED:
            start, end = _unpad(data, start, end)
        if flags & PRIORITY_FLAG:
            start += 5
            if start > end:
                raise RemoteProtocolError("HEADERS too short for its priority", ErrorCodes.FRAME_SIZE_ERROR)
        if flags & END_HEADERS:
            if end - start > self._max_block:
                raise self._block_too_large()
            self._on_headers(stream_id, data[start:end], flags & END_STREAM == END_STREAM)
            return
        if not stream_id:
            raise RemoteProtocolError("HEADERS on stream 0")
        self._block_stream = stream_id
        self._block_frames = 0
        self._data_flags = flags
        self._unfinished()
        self._collect(data, start, end)

    def _continuation(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        if not self._block_stream:
            raise RemoteProtocolError("CONTINUATION without HEADERS before it")
        self._block_frames += 1
        if self._block_frames > self._max_continuations:
            raise RemoteProtocolError(
                f"a header block in more than {self._max_continuations} CONTINUATION frames",
                ErrorCodes.ENHANCE_YOUR_CALM,
            )
        self._collect(data, start, end)
        if flags & END_HEADERS:
            block = bytes(self._block)
            self._block.clear()
            self._block_stream = 0
            self.unfinished_since = None
            self._on_headers(stream_id, block, self._data_flags & END_STREAM == END_STREAM)

    def _collect(self, data: bytes, start: int, end: int) -> None:
        if len(self._block) + end - start > self._max_block:
            raise self._block_too_large()
        self._block += data[start:end]

    def _block_too_large(self) -> RemoteProtocolError:
        return RemoteProtocolError(f"a header block of more than {self._max_block} bytes", ErrorCodes.ENHANCE_YOUR_CALM)


def _unpad(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the content of a padded payload lies (RFC 9113 §6.1)."""
    if start == end:
        raise RemoteProtocolError("a padded frame without a pad length", ErrorCodes.FRAME_SIZE_ERROR)
    last = end - data[start]
    if last < start + 1:
        raise RemoteProtocolError("the padding is longer than the frame")
    return start + 1, last
