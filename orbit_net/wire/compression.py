"""Compressed messages: gzip (RFC 1952) and deflate (the zlib format, RFC 1950), each message by itself.

Source: gRPC's compression.md and PROTOCOL-HTTP2 "Message-Encoding". The set is closed: both ends of a call must know an
algorithm, and these two are what gRPC peers have.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from grpclib.const import Status

from orbit_net.errors import ConfigurationError
from orbit_net.wire.assembler import CompressedMessage, MessageError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ENCODINGS", "IDENTITY", "accept_header", "accepted_by", "check_encodings", "compress", "decompress"]

IDENTITY: Final = "identity"
"""The name of "not compressed"; every peer accepts it."""

_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

ENCODINGS: Final = tuple(_WINDOW_BITS)
"""What can be compressed and decompressed, as ``grpc-encoding`` names it."""

_LEVEL: Final = 6
"""zlib's own default. Level 1 takes 40 % of its time for 16 % more bytes of JSON, level 9 four times for 1 % less."""

_SMALLEST: Final = 64
"""Bytes below which nothing is tried: gzip alone adds 18, and a small message travels in one packet anyway."""

_PIECE: Final = 16_384
"""Bytes inflated in one step, and taken from the input for it: zlib copies what it leaves of an input."""


def compress(message: bytes, encoding: str) -> bytes:
    """Return ``message`` compressed and marked as such, or as it is when that would not make it smaller.

    Takes CPU time in the caller's task: about 10 ms a MiB of text.
    """
    if len(message) < _SMALLEST:
        return message
    compressed = zlib.compress(message, _LEVEL, _WINDOW_BITS[encoding])
    return CompressedMessage(compressed) if len(compressed) < len(message) else message


def decompress(message: bytes, encoding: str | None, accepted: Collection[str], limit: int) -> bytes:
    """Return the bytes that ``message`` stands for, at most ``limit`` of them.

    Raises :class:`MessageError`: RESOURCE_EXHAUSTED as soon as there would be more, whatever the message would have
    grown to (CVE-2024-37168); INTERNAL for an encoding that is not among ``accepted``, for bytes that are not in its
    format, are cut short, or are followed by others (a second gzip member, too).
    """
    if encoding not in _WINDOW_BITS or encoding not in accepted:
        shown = "a grpc-encoding" if encoding is None else f"the grpc-encoding {encoding[:64]!r}"
        raise MessageError(Status.INTERNAL, f"a message is compressed with {shown} that is not accepted here")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated, rest = _inflate(inflater, message, limit)
    except zlib.error:
        # Not zlib's own text, which numbers its errors.
        raise MessageError(Status.INTERNAL, f"a compressed message is not in the {encoding} format") from None
    if not inflater.eof:
        raise MessageError(Status.INTERNAL, f"a message compressed with {encoding} is cut short")
    if inflater.unused_data or rest:
        raise MessageError(Status.INTERNAL, f"a message compressed with {encoding} is followed by other bytes")
    return inflated


def _inflate(inflater: zlib._Decompress, message: bytes, limit: int) -> tuple[bytes, int]:
    """Return what was inflated, and how many bytes of ``message`` were never looked at."""
    pieces: list[bytes] = []
    room = limit
    taken = 0
    while taken < len(message) and not inflater.eof:
        step = message[taken : taken + _PIECE]
        taken += len(step)
        full = False
        while (step or full) and not inflater.eof:
            piece = inflater.decompress(step, _PIECE)
            room -= len(piece)
            if room < 0:
                text = f"a message is larger than the limit of {limit} bytes after decompression"
                raise MessageError(Status.RESOURCE_EXHAUSTED, text)
            pieces.append(piece)
            step = inflater.unconsumed_tail
            full = len(piece) == _PIECE  # then zlib may hold back more, even when it has taken all of the input
    return b"".join(pieces), len(message) - taken


def accept_header(accepted: Collection[str]) -> bytes:
    """Return the value of ``grpc-accept-encoding``."""
    return ",".join([IDENTITY, *accepted]).encode()


@lru_cache(maxsize=32)  # each peer sends the same one with every call
def accepted_by(header: bytes | None) -> frozenset[str]:
    """Return which of :data:`ENCODINGS` a peer accepts that sent ``grpc-accept-encoding``; none when it sent none."""
    if header is None:
        return frozenset()
    return frozenset(name for name in map(str.strip, header.decode("latin-1").split(",")) if name in _WINDOW_BITS)


def check_encodings(compression: str | None, accepted: Collection[str]) -> None:
    """Check the compression settings of a channel or a server; raises :class:`ConfigurationError`."""
    known = f"{' and '.join(map(repr, ENCODINGS))} are known"
    if compression is not None and compression not in _WINDOW_BITS:
        raise ConfigurationError(f"compression is {compression!r}; {known}, and None compresses nothing")
    unknown = [accepted] if isinstance(accepted, str) else [name for name in accepted if name not in _WINDOW_BITS]
    if unknown or len(set(accepted)) < len(accepted):
        raise ConfigurationError(f"accept_compression is {accepted!r}; it must be a collection of names, {known}")
