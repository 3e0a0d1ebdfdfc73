"""Says what is wrong with bytes or with a message that the compiled functions have refused.

Slow and careful: it walks the same way once more, field by field, and stops at the first fault.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orbit_net.codec.fields import FIXED, VARINT, fields_of
from orbit_net.codec.runtime import Broken, moment, prefix, sequence, skip, varints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from betterproto2 import Message

    from orbit_net.codec.fields import Field, Kind

__all__ = ["explain_bytes", "explain_message"]


class _Fault(Exception):
    """Carries an explanation up."""

    def __init__(self, reason: str, offset: int, path: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.path = path


# --- bytes -----------------------------------------------------------------------------------------


def explain_bytes(data: bytes, cls: type[Message], depth: int) -> tuple[str, int, str] | None:
    """Return reason, offset in bytes and field path of the first fault in ``data``; None if there is none."""
    try:
        _Walk(data).message(0, len(data), cls, depth, cls.__name__)
    except _Fault as fault:
        return fault.reason, fault.offset, fault.path
    return None


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields: dict[Any, dict[int, Field]] = {}

    def message(self, position: int, end: int, cls: type[Message], depth: int, path: str) -> None:
        fields = self._fields.get(cls)
        if fields is None:
            fields = self._fields[cls] = {field.number: field for field in fields_of(cls)}

        def path_of(number: int) -> str:
            return f"{path}.{fields[number].name}" if number in fields else path

        for start, tag, where in self._tags(position, end, depth, path, path_of):
            self._value(start, tag, end, fields.get(tag >> 3), depth, where)

    def _tags(
        self, position: int, end: int, depth: int, path: str, path_of: Callable[[int], str]
    ) -> Iterator[tuple[int, int, str]]:
        """Give the place behind the tag, the tag and the path of each field."""
        if not depth:
            raise _Fault("nested too deeply", position, path)
        while position < end:
            start = position
            tag, position = self._tag(position, end, path)
            if tag < 8:
                raise _Fault("0 is no field number", start, path)
            where = path_of(tag >> 3)
            yield position, tag, where
            position = self._after(position, end, tag, depth, where)

    def _after(self, position: int, end: int, tag: int, depth: int, path: str) -> int:
        if tag & 7 in (4, 6, 7):
            what = "an end of a group that was not begun" if tag & 7 == 4 else f"wire type {tag & 7} does not exist"
            raise _Fault(f"field {tag >> 3}: {what}", position, path)
        try:
            return skip(self._data, position, end, tag, depth, [len(self._data)])
        except (Broken, IndexError):
            raise _Fault(f"field {tag >> 3}: {self._shortage(position, end, tag)}", position, path) from None

    def _shortage(self, position: int, end: int, tag: int) -> str:
        wire = tag & 7
        if wire == 0:
            return "the varint is longer than ten bytes or cut off"
        if wire == 2:
            try:
                size, position = prefix(self._data, position)
            except (Broken, IndexError):
                return "the length is longer than five bytes or cut off"
            return f"{size} bytes are announced and {max(0, end - position)} are left"
        if wire == 3:
            return "the group is broken, cut off or nested too deeply"
        return f"{8 if wire == 1 else 4} bytes are due and {end - position} are left"

    def _tag(self, position: int, end: int, path: str) -> tuple[int, int]:
        try:
            value, after = prefix(self._data, position)
        except Broken:
            raise _Fault("a tag is longer than five bytes or larger than 32 bits", position, path) from None
        except IndexError:
            raise _Fault("a tag is cut off", position, path) from None
        if after > end:
            raise _Fault("a tag is cut off", position, path)
        return value, after

    def _value(self, position: int, tag: int, end: int, field: Field | None, depth: int, path: str) -> None:
        """Look into the value of a known field that lies whole before ``end``."""
        if field is None or tag & 7 != 2:
            return
        self._after(position, end, tag, depth, path)
        size, start = prefix(self._data, position)
        stop = start + size
        if field.key is not None:
            self._entry(start, stop, field, field.key, depth - 1, path)
        elif field.repeated and field.kind.packable:
            self._packed(start, stop, field.kind, path)
        else:
            self._delimited(start, stop, field.kind, depth - 1, path)

    def _entry(self, start: int, stop: int, field: Field, key: Kind, depth: int, path: str) -> None:
        kinds = {1: key, 2: field.kind}

        def path_of(number: int) -> str:
            return {1: f"{path} key", 2: f"{path}[]"}.get(number, path)

        for position, tag, where in self._tags(start, stop, depth, path, path_of):
            kind = kinds.get(tag >> 3)
            if kind is not None and tag & 7 == 2:
                self._after(position, stop, tag, depth, where)
                size, inner = prefix(self._data, position)
                self._delimited(inner, inner + size, kind, depth - 1, where)

    def _packed(self, start: int, stop: int, kind: Kind, path: str) -> None:
        if kind.type in FIXED:
            size = FIXED[kind.type][1]
            if (stop - start) % size:
                raise _Fault(f"{stop - start} bytes of packed values of {size}", start, path)
            return
        values = self._data[start:stop]
        if values.isascii():
            return
        try:
            varints(values)
        except Broken:
            raise _Fault("a packed varint is longer than ten bytes or cut off", start, path) from None

    def _delimited(self, start: int, stop: int, kind: Kind, depth: int, path: str) -> None:
        if kind.type == "string":
            try:
                self._data[start:stop].decode()
            except UnicodeDecodeError as error:
                raise _Fault(f"no UTF-8: {error.reason}", start + error.start, path) from None
        elif kind.type == "message":
            self.message(start, stop, kind.cls, depth, path)
            if kind.wrapper:
                self._unwrap(start, stop, kind, path)

    def _unwrap(self, start: int, stop: int, kind: Kind, path: str) -> None:
        from orbit_net.codec.compiled import decoder_of  # noqa: PLC0415 - the compiler never needs this module

        try:
            message = decoder_of(kind.cls)(self._data, start, stop, 2, [len(self._data)])
            if kind.native == "timestamp":
                moment(message)
            else:
                message.to_wrapped()
        except Exception as error:  # noqa: BLE001 - whatever the class says about the value
            raise _Fault(f"no Python value for this {kind.cls.__name__}: {error}", start, path) from None


# --- messages --------------------------------------------------------------------------------------


_RANGES: Final = {
    "int32": (-(2**31), 2**31 - 1),
    "sint32": (-(2**31), 2**31 - 1),
    "sfixed32": (-(2**31), 2**31 - 1),
    "enum": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "sint64": (-(2**63), 2**63 - 1),
    "sfixed64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "fixed32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "fixed64": (0, 2**64 - 1),
}
_LARGEST_FLOAT: Final = 3.4028235677973366e38
"""Above this, no rounding leads to a number of 32 bits."""


def explain_message(message: Any, depth: int) -> tuple[str, str] | None:
    """Return what is wrong with a message, and the path of the field; None if nothing is."""
    try:
        _check_message(message, type(message), depth, type(message).__name__)
    except _Fault as fault:
        return fault.reason, fault.path
    return None


def _check_message(message: Any, cls: Any, depth: int, path: str) -> None:
    if not isinstance(message, cls):
        raise _wrong(cls.__name__, message, path)
    if not depth:
        raise _Fault("nested too deeply", 0, path)
    for field in fields_of(cls):
        value = getattr(message, field.name)
        where = f"{path}.{field.name}"
        if field.key is not None:
            _check_map(value, field, field.key, depth, where)
        elif field.repeated:
            _check_list(value, field.kind, depth, where)
        elif not (field.presence and value is None):
            _check_value(value, field.kind, depth, where)


def _check_list(values: Any, kind: Kind, depth: int, path: str) -> None:
    if not values:
        return
    try:
        found = sequence(values)
    except Broken:
        raise _wrong("a list", values, path) from None
    for index, value in enumerate(found):
        _check_value(value, kind, depth, f"{path}[{index}]")


def _check_map(values: Mapping[Any, Any], field: Field, key: Kind, depth: int, path: str) -> None:
    if not values:
        return
    if not hasattr(values, "items"):
        raise _wrong("a mapping", values, path)
    for name, value in values.items():
        _check_value(name, key, depth, f"{path} key")
        _check_value(value, field.kind, depth, f"{path}[{name!r}]")


def _check_value(value: Any, kind: Kind, depth: int, path: str) -> None:
    if kind.type == "message":
        _check_nested(value, kind, depth, path)
    elif kind.type == "string":
        _check_string(value, path)
    elif kind.type == "bytes":
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise _wrong("bytes", value, path)
    elif kind.type in ("float", "double"):
        _check_float(value, kind, path)
    elif kind.type == "bool":
        if not (isinstance(value, int) and value in (0, 1)):
            raise _wrong("a bool", value, path)
    else:
        assert kind.type in VARINT or kind.type in FIXED
        _check_integer(value, kind, path)


def _check_nested(value: Any, kind: Kind, depth: int, path: str) -> None:
    cls: Any = kind.cls
    if kind.native:
        _check_native(value, kind, path)
        return
    if kind.wrapper:
        try:
            value = cls.from_wrapped(value)
        except Exception as error:  # noqa: BLE001 - whatever the class says about the value
            raise _Fault(f"{type(value).__name__} makes no {cls.__name__}: {error}", 0, path) from None
    _check_message(value, cls, depth - 1, path)


def _check_native(value: Any, kind: Kind, path: str) -> None:
    if kind.native == "duration":
        if not isinstance(value, timedelta):
            raise _wrong("a timedelta", value, path)
    elif not isinstance(value, datetime):
        raise _wrong("a datetime", value, path)
    elif value.tzinfo is None:
        raise _Fault(f"the datetime {value} has no time zone", 0, path)


def _check_string(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise _wrong("a str", value, path)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"the string has no UTF-8: {error.reason} at character {error.start}", 0, path) from None


def _check_float(value: Any, kind: Kind, path: str) -> None:
    if not hasattr(value, "__float__"):
        raise _wrong(f"a {kind.type}", value, path)
    try:
        number = float(value)
    except OverflowError:
        raise _Fault(f"{value!r:.80} is too large for a {kind.type}", 0, path) from None
    if kind.type == "float" and math.isfinite(number) and abs(number) >= _LARGEST_FLOAT:
        raise _Fault(f"{value!r} is too large for a float of 32 bits", 0, path)


def _check_integer(value: Any, kind: Kind, path: str) -> None:
    if not hasattr(value, "__index__"):
        raise _wrong(f"an {kind.type}" if kind.type[0] in "ie" else f"a {kind.type}", value, path)
    low, high = _RANGES[kind.type]
    if not low <= value <= high:
        raise _Fault(f"{value!r} is out of range for {kind.type} ({low} to {high})", 0, path)


def _wrong(expected: str, value: Any, path: str) -> _Fault:
    return _Fault(f"{expected} is due, not {type(value).__name__} {value!r:.80}", 0, path)
