"""Theory of operation: what may follow what on one stream.

HTTP/2 sees a stream as open, half-closed and closed (RFC 9113 §5.1); gRPC allows far less on it. Each direction of
a stream is a sentence of its own grammar, and a stream is the pair of them:

    request    Headers Message* End                     (client → server)
    response   Headers Message* Trailers | Trailers     (server → client; 1xx headers before it are skipped)

Both sides keep both sentences, one that they speak and one that they hear. A direction is a
:class:`Phase`; a frame is an :class:`Input`; the tables below hold every legal step, and a missing key is a protocol
error: ours (:class:`~orbit_net.errors.LocalProtocolError`) in the direction that we speak, the peer's in the other.
A stream is closed when both directions are ``DONE`` or one side resets it.
"""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REQUEST", "RESPONSE", "Input", "Phase"]


class Phase(IntEnum):
    """How far one direction of a stream has come."""

    START = 0
    OPEN = 1
    DONE = 2


class Input(IntEnum):
    """What a frame means in its direction; the ``…_END`` forms carry END_STREAM."""

    HEADERS = 0
    HEADERS_END = 1
    DATA = 2
    DATA_END = 3
    INFORMATIONAL = 4


REQUEST: Mapping[tuple[int, int], Phase] = MappingProxyType(
    {
        (Phase.START, Input.HEADERS): Phase.OPEN,
        (Phase.START, Input.HEADERS_END): Phase.DONE,
        (Phase.OPEN, Input.DATA): Phase.OPEN,
        (Phase.OPEN, Input.DATA_END): Phase.DONE,
        # gRPC has no request trailers, HTTP/2 does (RFC 9113 §8.1): they end the request and their text is dropped.
        (Phase.OPEN, Input.HEADERS_END): Phase.DONE,
    }
)

RESPONSE: Mapping[tuple[int, int], Phase] = MappingProxyType(
    {
        (Phase.START, Input.INFORMATIONAL): Phase.START,
        (Phase.START, Input.HEADERS): Phase.OPEN,
        (Phase.START, Input.HEADERS_END): Phase.DONE,
        (Phase.OPEN, Input.DATA): Phase.OPEN,
        # A body without trailers is what an HTTP server that knows no gRPC sends: the call maps it to a status.
        (Phase.OPEN, Input.DATA_END): Phase.DONE,
        (Phase.OPEN, Input.HEADERS_END): Phase.DONE,
    }
)
