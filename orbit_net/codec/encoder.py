"""Writes the encoder of one message class: straight-line Python, one paragraph a field.

A value that is out of range or of the wrong type makes the text raise something; what it was is found out afterwards.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from orbit_net.codec.fields import FIXED
from orbit_net.codec.runtime import lengths, write

if TYPE_CHECKING:
    from orbit_net.codec.fields import Field, Kind
    from orbit_net.codec.source import Source

__all__ = ["write_encoder"]

_WRITERS = {
    "int32": "signed32",
    "int64": "signed64",
    "uint32": "unsigned32",
    "uint64": "unsigned64",
    "sint32": "unsigned32",
    "sint64": "unsigned64",
    "enum": "signed32",
}


def write_encoder(source: Source, fields: list[Field]) -> None:
    """Add ``def encode(message)``, which returns bytes."""
    with source.block("def encode(message):"):
        source.line("parts = []")
        for field in fields:
            source.line(f"value = message.{field.name}")
            if field.key is not None:
                _map(source, field, field.key)
            elif field.repeated:
                _repeated(source, field)
            else:
                _single(source, field)
        with source.block("if message._unknown_fields:"):
            source.line("parts.append(message._unknown_fields)")
        source.line('return b"".join(parts)')


def _single(source: Source, field: Field) -> None:
    kind, label = field.kind, str(field.number)
    if field.presence:
        with source.block("if value is not None:"):
            _value(source, kind, label, field.tag())
    elif kind.type in FIXED:
        # Compared as bytes: the zero that is not written is the positive one.
        source.line(f"data = {_packer(source, kind, label)}(value)")
        with source.block(f"if data != {bytes(FIXED[kind.type][1])!r}:"):
            source.line(f"parts += ({write(field.tag())!r}, data)")
    else:
        default = {"string": 'value != ""', "bytes": 'value != b""'}
        with source.block(f"if {default.get(kind.type, 'value != 0')}:"):
            _value(source, kind, label, field.tag())


def _value(source: Source, kind: Kind, label: str, tag: int) -> None:
    """Add the field with ``value``, whatever the value is."""
    prefix = repr(write(tag))
    if kind.type == "bool":
        source.line(f"parts += ({prefix}, b'\\x01' if value is True else b'\\0' if value is False else boolean(value))")
    elif kind.type in _WRITERS:
        if kind.type in ("sint32", "sint64"):
            source.line("value = value << 1 if value >= 0 else ~(value << 1)")
        with source.block("if 0 <= value < 128:"):
            source.line(f"parts.append({source.constant(f'SHORT_{label}', lengths(tag))}[value])")
        with source.block("else:"):
            source.line(f"parts += ({prefix}, {_WRITERS[kind.type]}(value))")
    elif kind.type in FIXED:
        source.line(f"parts += ({prefix}, {_packer(source, kind, label)}(value))")
    else:
        _bytes_of(source, kind, label)
        source.line("size = len(value)")
        table = source.constant(f"SHORT_{label}", lengths(tag))
        with source.block("if size < 128:"):
            source.line(f"parts += ({table}[size], value)")
        with source.block("else:"):
            source.line(f"parts += ({prefix}, write(size), value)")


def _bytes_of(source: Source, kind: Kind, label: str) -> None:
    """Turn ``value`` into the bytes behind its length."""
    if kind.type == "string":
        source.line("value = value.encode()")
    elif kind.type == "bytes":
        with source.block("if value.__class__ is not bytes:"):
            source.line("value = octets(value)")
    elif kind.type == "message":
        name = source.constant(f"Message_{label}", kind.cls)
        if kind.wrapper and kind.native:
            source.line(f"value = {kind.native}(value)")
            return
        if kind.wrapper:
            source.line(f"value = {name}.from_wrapped(value)")
        else:
            with source.block(f"if value.__class__ is not {name}:"):
                source.line(f"expect(value, {name})")
        source.line(f"value = encode_{label}(value)")


def _packer(source: Source, kind: Kind, label: str) -> str:
    return source.constant(f"pack_{label}", Struct("<" + FIXED[kind.type][0]).pack)


def _repeated(source: Source, field: Field) -> None:
    kind, label = field.kind, str(field.number)
    with source.block("if value:"):
        with source.block("if value.__class__ is not list:"):
            source.line("value = sequence(value)")
        if not kind.packable:
            with source.block("for value in value:"):
                _value(source, kind, label, field.tag())
            return
        if kind.type in FIXED:
            source.line(f'value = pack(f"<{{len(value)}}{FIXED[kind.type][0]}", *value)')
        elif kind.type == "bool":
            source.line("value = b''.join([boolean(one) for one in value])")
        else:
            _pack_varints(source, kind)
        source.lines("size = len(value)", f"parts += ({write(field.tag(2))!r}, write(size), value)")


def _pack_varints(source: Source, kind: Kind) -> None:
    """Turn the list ``value`` into varints; numbers of one byte need no loop."""
    if kind.type in ("sint32", "sint64"):
        source.line("value = [one << 1 if one >= 0 else ~(one << 1) for one in value]")
    with source.block("try:"):
        source.line("data = bytes(value)")
    with source.block("except ValueError:"):
        source.line("data = b'\\xff'")
    with source.block("if not data.isascii():"):
        writer = _WRITERS[kind.type]
        source.line(f"data = pack_varints(value, {writer})")
    source.line("value = data")


def _map(source: Source, field: Field, key: Kind) -> None:
    label = str(field.number)
    with source.block("if value:"):
        source.line("whole = parts")
        with source.block("for value, item in entries(value):"):
            source.line("parts = []")
            _value(source, key, f"{label}_key", 8 | key.wire)
            source.line("value = item")
            _value(source, field.kind, label, 16 | field.kind.wire)
            source.line('value = b"".join(parts)')
            source.line(f"whole += ({write(field.tag(2))!r}, write(len(value)), value)")
        source.line("parts = whole")
