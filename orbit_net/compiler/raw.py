"""Descriptors as protoc wrote them, byte for byte.

betterproto2's messages forget which fields were set to their default, and in descriptor.proto that has a meaning: for
example in ``[packed = false]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["submessages", "without_field"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def submessages(data: bytes, number: int) -> Iterator[bytes]:
    """Yield the serialized messages in field ``number`` of a serialized message, which must be valid."""
    for found, _, start, end in _fields(data):
        if found == number:
            yield data[start:end]


def without_field(data: bytes, number: int) -> bytes:
    """Return a serialized message, which must be valid, without one of its fields."""
    return b"".join(data[begin:end] for found, begin, _, end in _fields(data) if found != number)


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield for each field its number, where it begins, where its value begins, and where it ends."""
    position = 0
    while position < len(data):
        begin = position
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            start = position
            _, position = _varint(data, position)
        elif kind == _LENGTH:
            length, start = _varint(data, position)
            position = start + length
        elif kind in (_FIXED64, _FIXED32):
            start = position
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {begin}")
        yield number, begin, start, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
