"""The frames of HTTP/2 as bytes: types, flags, and one function for each frame that a gRPC peer sends.

Source: RFC 9113 §4.1 (frame format) and §6 (frame definitions).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "DEFAULT_MAX_FRAME_SIZE",
    "DEFAULT_WINDOW",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_HEADER_SIZE",
    "GOAWAY",
    "HEADERS",
    "MAX_STREAM_ID",
    "MAX_WINDOW",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "goaway_frame",
    "headers_frames",
    "pack_header",
    "ping_frame",
    "reset_frame",
    "settings_frame",
    "unpack_header",
    "window_update_frame",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends before its first frame (RFC 9113 §3.4)."""

FRAME_HEADER_SIZE: Final = 9
DEFAULT_MAX_FRAME_SIZE: Final = 16_384
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1

# Frame types.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

# Flags; ACK and END_STREAM share a bit on different frames.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

_HEADER = Struct(">IBI")  # length and type share the first word: length << 8 | type
_LONG = Struct(">IBII")
_GOAWAY = Struct(">IBIII")
_SETTING = Struct(">HI")

unpack_header = _HEADER.unpack_from
"""``unpack_header(data, offset)`` → ``(length << 8 | type, flags, stream_id)``; the reserved bit is still in the id."""


def pack_header(frame_type: int, length: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes that stand before a payload of ``length`` bytes."""
    return _HEADER.pack(length << 8 | frame_type, flags, stream_id)


def headers_frames(stream_id: int, block: bytes, *, end_stream: bool, max_frame_size: int) -> bytes:
    """Return a header block as HEADERS and, where it is too long for one frame, CONTINUATION frames."""
    end = END_STREAM if end_stream else 0
    if len(block) <= max_frame_size:
        return _HEADER.pack(len(block) << 8 | HEADERS, end | END_HEADERS, stream_id) + block
    pieces = [block[start : start + max_frame_size] for start in range(0, len(block), max_frame_size)]
    frames = [pack_header(HEADERS, len(pieces[0]), end, stream_id), pieces[0]]
    for piece in pieces[1:-1]:
        frames += (pack_header(CONTINUATION, len(piece), 0, stream_id), piece)
    frames += (pack_header(CONTINUATION, len(pieces[-1]), END_HEADERS, stream_id), pieces[-1])
    return b"".join(frames)


def settings_frame(settings: Iterable[tuple[int, int]] = (), *, ack: bool = False) -> bytes:
    """Return a SETTINGS frame of ``(identifier, value)`` pairs, or the empty acknowledgement."""
    payload = b"".join(_SETTING.pack(identifier, value) for identifier, value in settings)
    return pack_header(SETTINGS, len(payload), ACK if ack else 0, 0) + payload


def ping_frame(opaque: bytes, *, ack: bool = False) -> bytes:
    """Return a PING frame that carries eight ``opaque`` bytes."""
    return pack_header(PING, 8, ACK if ack else 0, 0) + opaque


def reset_frame(stream_id: int, error_code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return _LONG.pack(4 << 8 | RST_STREAM, 0, stream_id, error_code)


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return _LONG.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def goaway_frame(last_stream_id: int, error_code: int, debug_data: bytes = b"") -> bytes:
    """Return a GOAWAY frame; ``debug_data`` is free text for the operator of the peer."""
    return _GOAWAY.pack((8 + len(debug_data)) << 8 | GOAWAY, 0, 0, last_stream_id, error_code) + debug_data
