"""Hypothesis strategies: betterproto2 messages of any class, and bytes that are nearly one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from orbit_net.codec.fields import fields_of

__all__ = ["messages", "mutations"]

_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "sint32": (-(2**31), 2**31 - 1),
    "sfixed32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "sint64": (-(2**63), 2**63 - 1),
    "sfixed64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "fixed32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "fixed64": (0, 2**64 - 1),
}
_PYTHON = {
    datetime: st.datetimes(timezones=st.just(UTC)),
    # Others than these betterproto2 writes wrongly.
    timedelta: st.timedeltas(timedelta(0), timedelta(days=10_000)),
}


def _scalars(kind: Any) -> st.SearchStrategy[Any]:
    if kind.type in _INTEGERS:
        low, high = _INTEGERS[kind.type]
        return st.one_of(st.integers(max(low, -2), 130), st.sampled_from([low, high]), st.integers(low, high))
    if kind.type in ("float", "double"):
        # -0.0 is no default, and betterproto2 takes it for one.
        width = 32 if kind.type == "float" else 64
        return st.floats(width=width, allow_nan=False).map(lambda value: value or 0.0)
    if kind.type == "enum":
        return st.sampled_from([*kind.cls, kind.cls(7), kind.cls(-(2**31)), kind.cls(2**31 - 1)])
    return {"bool": st.booleans(), "string": st.text(max_size=200), "bytes": st.binary(max_size=200)}[kind.type]


def _values(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    if kind.type != "message":
        return _scalars(kind)
    if not kind.wrapper:
        return messages(kind.cls, depth - 1)
    if kind.native:
        return _PYTHON[datetime if kind.native == "timestamp" else timedelta]
    [value] = fields_of(kind.cls)
    return _scalars(value.kind)


@st.composite
def messages(draw: st.DrawFn, cls: Any, depth: int = 2) -> Any:
    """Draw a message with a few of its fields set, one of each oneof, ``depth`` levels at most."""
    fields = [field for field in fields_of(cls) if depth or field.kind.type != "message" or field.kind.wrapper]
    if not fields:
        return cls()
    chosen = draw(st.lists(st.sampled_from(fields), unique_by=lambda field: field.group or field.name, max_size=6))
    given = {}
    for field in chosen:
        values = _values(field.kind, depth)
        if field.key is not None:
            values = st.dictionaries(_scalars(field.key), values, max_size=3)
        elif field.repeated:
            values = st.lists(values, max_size=4)
        given[field.name] = draw(values)
    return cls(**given)


_PIECES = [
    b"",
    b"\0",
    b"\x80",
    b"\xff" * 9 + b"\1",
    b"\x88\x80\x80\x80\x00",
    b"\x0a\0",
    b"\x0b\x0c",
    b"\x12\x02\x08\x01",
]


@st.composite
def mutations(draw: st.DrawFn, cls: Any) -> bytes:
    """Draw the bytes of a message of ``cls`` after some accidents."""
    data = bytearray(bytes(draw(messages(cls))) + draw(st.binary(max_size=6)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 8)))
        match draw(st.sampled_from(["flip", "cut", "insert", "again", "join"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:end]
            case "insert":
                data[at:at] = draw(st.sampled_from(_PIECES) | st.binary(max_size=3))
            case "again":
                data[at:at] = data[at:end]
            case "join":
                data += bytes(draw(messages(cls)))
    return bytes(data)
