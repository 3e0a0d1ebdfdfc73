"""Messages as grpcio sees them when it leaves compression to us: so that a test knows which came compressed."""

import gzip
from typing import Any, NamedTuple

RAW = ("grpc.per_message_decompression", 0)
"""The option of a channel or server that hands over the bytes as they were sent."""
_GZIP = b"\x1f\x8b"
"""No message begins so: it would be a field of the wire type 7, which there is not."""


class Came(NamedTuple):
    """A message, and whether it was compressed on its way."""

    message: Any
    compressed: bool


def decoder(message_type):
    """Return a deserializer that makes :class:`Came` of bytes."""

    def decode(data):
        compressed = data.startswith(_GZIP)
        return Came(message_type.FromString(gzip.decompress(data) if compressed else data), compressed)

    return decode


def encode(message):
    """Return the bytes of any message."""
    return message.SerializeToString()
