"""HTTP/2 frames built and read by hand, right or wrong as a test wants them: struct and hpack, none of our code."""

from struct import pack, unpack

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Chat"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


def frame(kind, flags=0, stream_id=0, payload=b""):
    """Return any frame."""
    return pack(">I", len(payload))[1:] + pack(">BBI", kind, flags, stream_id) + payload


def block(fields):
    """Return a header block that leaves every dynamic table alone: literals without indexing, never Huffman."""
    out = b""
    for name, value in fields:
        for index, text in enumerate((name, value)):
            raw = text.encode("latin-1") if isinstance(text, str) else text
            out += (b"" if index else b"\x00") + _length(len(raw)) + raw
    return out


def _length(number):
    return bytes((number,)) if number < 127 else bytes(hpack.hpack.encode_integer(number, 7))


def headers(stream_id, fields=REQUEST, *, end=False, flags=END_HEADERS):
    """Return HEADERS with ``fields``, or with a block that is given as bytes."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream_id, payload)


def data(stream_id, payload=b"", *, end=False, pad=None):
    """Return DATA; ``pad`` adds a pad length and so many bytes of padding."""
    flags = END_STREAM if end else 0
    if pad is None:
        return frame(DATA, flags, stream_id, payload)
    return frame(DATA, flags | PADDED, stream_id, bytes((pad,)) + payload + bytes(pad))


def message(payload=b"", *, flag=0):
    """Return a length-prefixed message."""
    return bytes((flag,)) + pack(">I", len(payload)) + payload


def settings(*pairs, ack=False):
    """Return SETTINGS."""
    return frame(SETTINGS, ACK if ack else 0, 0, b"".join(pack(">HI", code, value) for code, value in pairs))


def reset(stream_id, code=CANCEL):
    """Return RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, pack(">I", code))


def window_update(stream_id, increment):
    """Return WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, pack(">I", increment))


def ping(opaque=b"8 bytes!", *, ack=False):
    """Return PING."""
    return frame(PING, ACK if ack else 0, 0, opaque)


def goaway(last, code=NO_ERROR, debug=b""):
    """Return GOAWAY."""
    return frame(GOAWAY, 0, 0, pack(">II", last, code) + debug)


def split(stream):
    """Return the frames in ``stream``, a preface aside, as ``(kind, flags, stream_id, payload)``; it must end whole."""
    stream = stream.removeprefix(PREFACE)
    frames = []
    while stream:
        length, kind, flags, stream_id = unpack(">IBBI", b"\0" + stream[:9])
        assert len(stream) >= 9 + length, "the bytes end inside a frame"
        frames.append((kind, flags, stream_id, stream[9 : 9 + length]))
        stream = stream[9 + length :]
    return frames


def of_kind(stream, kind):
    """Return the frames of one kind in ``stream``."""
    return [found for found in split(stream) if found[0] == kind]


def goaways(stream):
    """Return ``(last_stream_id, error_code, debug)`` of each GOAWAY in ``stream``."""
    return [(*unpack(">II", payload[:8]), payload[8:]) for _, _, _, payload in of_kind(stream, GOAWAY)]


def resets(stream):
    """Return ``(stream_id, error_code)`` of each RST_STREAM in ``stream``."""
    return [(stream_id, *unpack(">I", payload)) for _, _, stream_id, payload in of_kind(stream, RST_STREAM)]


def increments(stream, stream_id):
    """Return the sum of the WINDOW_UPDATE increments for one stream, or for the connection (0)."""
    return sum(
        unpack(">I", payload)[0] for _, _, number, payload in of_kind(stream, WINDOW_UPDATE) if number == stream_id
    )
