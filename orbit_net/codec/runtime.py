"""What the generated functions call for whatever is rare: long varints, unknown fields, odd types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from betterproto2 import Enum

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BYTES",
    "FIELDS_AN_ELEMENT",
    "ZIGZAG",
    "Broken",
    "Members",
    "Pieces",
    "TooMany",
    "boolean",
    "count",
    "duration",
    "entries",
    "expect",
    "finish",
    "lengths",
    "moment",
    "octets",
    "pack_varints",
    "pieces",
    "prefix",
    "sequence",
    "signed32",
    "signed64",
    "skip",
    "timestamp",
    "unsigned32",
    "unsigned64",
    "varint",
    "varints",
    "write",
]

BYTES: Final = tuple(bytes((value,)) for value in range(128))
"""The varints of one byte."""

ZIGZAG: Final = tuple(value >> 1 ^ -(value & 1) for value in range(128))
"""The signed numbers that varints of one byte stand for."""

FIELDS_AN_ELEMENT: Final = 16
"""A message counts as one element more for so many fields of its class: each has to be set, also when none comes."""

_MASK: Final = 2**64 - 1
_CONTINUED: Final = bytes(range(128, 256))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Broken(ValueError):
    """The input is not protobuf, or the message has a value that does not fit; explained by a second, slow walk."""


class TooMany(Broken):
    """The input has more elements than the codec allows; the argument is where the first of them begins."""


class Members(dict[int, Any]):
    """The members of an enum by number; one that has no name is made when it is first seen, and not kept."""

    def __init__(self, enum: Any) -> None:
        super().__init__({int(member): member for member in enum})
        self._enum = enum

    def __missing__(self, number: int) -> Any:
        enum = self._enum
        # What a call of the enum comes to in the end, for a fifth of its time.
        made = enum._missing_(number) if issubclass(enum, Enum) else None
        return enum(number) if made is None else made


class Pieces(list[bytes]):
    """The unknown fields of a message that occurs several times, before they are joined into one."""


# --- writing ---------------------------------------------------------------------------------------


def write(value: int) -> bytes:
    """Return ``value`` (0 <= value < 2**64) as a varint of the least length."""
    if value < 128:
        return BYTES[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def lengths(tag: int) -> tuple[bytes, ...]:
    """Return a table of ``tag`` with each number of one byte: what precedes a short value, or a short varint."""
    prefix = write(tag)
    return tuple(prefix + byte for byte in BYTES)


def pack_varints(values: list[int], writer: Callable[[int], bytes]) -> bytes:
    """Return the numbers as varints; ``writer`` knows the range, and writes those of more than two bytes."""
    short = _two_bytes()
    return b"".join([short[value] if 0 <= value < 16_384 else writer(value) for value in values])


@cache
def _two_bytes() -> tuple[bytes, ...]:
    """Return the varints of one byte and of two: half a megabyte, for a tenth of the time that a long list takes."""
    return tuple(map(write, range(16_384)))


def signed32(value: int) -> bytes:
    """Write an int32; a negative one takes ten bytes."""
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise Broken
    return write(value & _MASK)


def signed64(value: int) -> bytes:
    """Write an int64; a negative one takes ten bytes."""
    if not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise Broken
    return write(value & _MASK)


def unsigned32(value: int) -> bytes:
    """Write a uint32, or a sint32 that was folded already."""
    if not 0 <= value <= 0xFFFFFFFF:
        raise Broken
    return write(value & _MASK)


def unsigned64(value: int) -> bytes:
    """Write a uint64, or a sint64 that was folded already."""
    if not 0 <= value <= _MASK:
        raise Broken
    return write(value & _MASK)


def boolean(value: Any) -> bytes:
    """Write what stands for a bool and is none: 0 and 1, of whatever type, are taken."""
    if isinstance(value, int) and value in (0, 1):
        return BYTES[value]
    raise Broken


def octets(value: Any) -> bytes:
    """Return the bytes of what may stand for bytes."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise Broken
    return bytes(value)


def timestamp(value: Any) -> bytes:
    """Return a datetime that knows its time zone as the bytes of a Timestamp."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise Broken
    since = value - _EPOCH
    return _seconds_and_nanos(since.days * 86400 + since.seconds, since.microseconds * 1000)


def moment(message: Any) -> Any:
    """Return the datetime of a Timestamp; raises :class:`ValueError` for nanos out of their range, which would
    otherwise give some other moment.
    """
    if not 0 <= message.nanos < 1_000_000_000:
        raise ValueError(f"nanos are {message.nanos}, and not from 0 to 999999999")
    return message.to_wrapped()


def duration(value: Any) -> bytes:
    """Return a timedelta as the bytes of a Duration; both parts of a negative one are negative, as protobuf wants."""
    if not isinstance(value, timedelta):
        raise Broken
    seconds, micros = value.days * 86400 + value.seconds, value.microseconds
    if seconds < 0 and micros:
        seconds, micros = seconds + 1, micros - 1_000_000
    return _seconds_and_nanos(seconds, micros * 1000)


def _seconds_and_nanos(seconds: int, nanos: int) -> bytes:
    first = b"\x08" + write(seconds & _MASK) if seconds else b""
    return first + b"\x10" + write(nanos & _MASK) if nanos else first


def expect(value: Any, cls: type) -> None:
    """Refuse a message of another class; one of a subclass is taken."""
    if not isinstance(value, cls):
        raise Broken


def sequence(values: Any) -> list[Any]:
    """Return the values of a repeated field as a list; a string is no list of strings."""
    if isinstance(values, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(values, Iterable):
        raise Broken
    return list(values)


def entries(values: Any) -> Any:
    """Return the items of a map."""
    if not isinstance(values, Mapping):
        raise Broken
    return values.items()


# --- reading ---------------------------------------------------------------------------------------


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the varint at ``position``, cut to 64 bits, and where it ends; ten bytes at most."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        if byte < 128:
            return (value | byte << shift) & _MASK, position
        value |= (byte & 127) << shift
        shift += 7
        if shift == 70:
            raise Broken


def prefix(data: bytes, position: int) -> tuple[int, int]:
    """Return the tag or the length at ``position``, and where it ends: five bytes and 32 bits at most."""
    value, after = varint(data, position)
    if after - position > 5 or value > 0xFFFFFFFF:
        raise Broken
    return value, after


def varints(data: bytes) -> list[int]:
    """Return the varints that ``data`` is made of."""
    values: list[int] = []
    append = values.append
    value = shift = 0
    for byte in data:
        if byte < 128:
            if shift:
                append((value | byte << shift) & _MASK)
                value = shift = 0
            else:
                append(byte)
        else:
            value |= (byte & 127) << shift
            shift += 7
            if shift == 70:
                raise Broken
    if shift:
        raise Broken
    return values


def count(values: bytes) -> int:
    """Return how many varints ``values`` are."""
    return len(values.translate(None, _CONTINUED))


def skip(data: bytes, position: int, end: int, tag: int, depth: int, state: list[Any]) -> int:
    """Return where the value of an unknown field ends; ``position`` is behind its ``tag``. Fields of groups count."""
    if tag < 8:
        raise Broken
    wire = tag & 7
    if wire == 0:
        position = varint(data, position)[1]
    elif wire == 1:
        position += 8
    elif wire == 5:
        position += 4
    elif wire == 2:
        size, position = prefix(data, position)
        position += size
    elif wire == 3:
        position = _skip_group(data, position, end, tag, depth - 1, state)
    else:
        raise Broken  # an end of a group that was not begun, or a wire type that does not exist
    if position > end:
        raise Broken
    return position


def _skip_group(data: bytes, position: int, end: int, tag: int, depth: int, state: list[Any]) -> int:
    if depth <= 0:
        raise Broken
    while position < end:
        state[0] -= 1
        if state[0] < 0:
            raise TooMany(position)
        inner, position = prefix(data, position)
        if inner == tag + 1:
            return position
        position = skip(data, position, end, inner, depth, state)
    raise Broken


def pieces(message: Any, state: list[Any]) -> Pieces:
    """Return the unknown fields of a message that occurs again, to be added to; ``state`` keeps it for :func:`finish`.

    Joining them at each occurrence would take quadratic time.
    """
    found = message._unknown_fields
    if found.__class__ is not Pieces:
        found = message._unknown_fields = Pieces([found] if found else [])
        state.append(message)
    return found


def finish(state: list[Any]) -> None:
    """Join what :func:`pieces` has left."""
    for message in state[1:]:
        message._unknown_fields = b"".join(message._unknown_fields)
