"""Writes the decoder of one message class: a loop over the tags, a paragraph a tag.

The loop looks only ahead of itself: a value that runs over the end is seen when the loop ends behind it. What does not
parse makes the text raise something; what it was is found out afterwards.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from betterproto2 import Message

from orbit_net.codec.fields import FIXED, VARINT
from orbit_net.codec.runtime import FIELDS_AN_ELEMENT, Members

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.codec.fields import Field, Kind
    from orbit_net.codec.source import Source

__all__ = ["write_decoder"]

_LEAF: Final = 4
"""Tags that are compared one after the other; more of them are searched by halves."""


def write_decoder(source: Source, fields: list[Field], cls: type[Message], *, counted: bool) -> None:
    """Add ``def decode(data, position, end, depth, state, message=None)``, which returns a message.

    With ``message``, what is read is merged into it. ``state`` is a list: how many elements may still come, then the
    messages that :func:`~orbit_net.codec.runtime.finish` must see. ``counted`` says whether elements are counted.
    """
    for field in fields:
        if field.key is not None:
            _write_entry(source, field, field.key, counted=counted)
    with source.block("def decode(data, position, end, depth, state, message=None):"):
        with source.block("if not depth:"):
            source.line("raise Broken")
        with source.block("if message is None:"):
            if counted and len(fields) >= FIELDS_AN_ELEMENT:
                source.line(f"state[0] -= {len(fields) // FIELDS_AN_ELEMENT}")
            source.line("message = new(Message)" if _is_plain(cls) else "message = Message()")
            for field in fields:
                source.line(f"{_local(field)} = {_default(source, field)}")
            source.line("unknown = None")
        with source.block("else:"):
            for field in fields:
                source.line(f"{_local(field)} = message.{field.name}")
            source.line("unknown = pieces(message, state)")
        source.constant("Message", cls)
        cases: dict[int, Callable[[], None]] = {}
        for field in fields:
            _add_cases(source, cases, field, fields, counted=counted)
        _loop(source, cases, counted=counted, keep=True)
        for field in fields:
            source.line(f"message.{field.name} = {_local(field)}")
        with source.block("if unknown is None:"):
            source.line("message._unknown_fields = b''")
        with source.block("elif unknown.__class__ is list:"):
            source.line("message._unknown_fields = b''.join(unknown)")
        source.line("return message")


def _is_plain(cls: type[Message]) -> bool:
    """Whether a message may be made without calling the class: nobody would notice."""
    return cls.__post_init__ is Message.__post_init__ and cls.__new__ is object.__new__


def _loop(source: Source, cases: dict[int, Callable[[], None]], *, counted: bool, keep: bool) -> None:
    with source.block("while position < end:"):
        if counted:
            source.line("state[0] -= 1")
            with source.block("if state[0] < 0:"):
                source.line("raise TooMany(position)")
        source.lines("start = position", "tag = data[position]", "position += 1")
        with source.block("if tag > 127:"):
            source.line("tag, position = prefix(data, start)")
        _search(source, sorted(cases.items()), keep=keep)
    with source.block("if position != end:"):
        source.line("raise Broken")


def _search(source: Source, cases: list[tuple[int, Callable[[], None]]], *, keep: bool) -> None:
    if len(cases) > _LEAF:
        middle = len(cases) // 2
        with source.block(f"if tag < {cases[middle][0]}:"):
            _search(source, cases[:middle], keep=keep)
        with source.block("else:"):
            _search(source, cases[middle:], keep=keep)
        return
    word = "if"
    for tag, write_case in cases:
        with source.block(f"{word} tag == {tag}:"):
            write_case()
        word = "elif"
    if cases:
        with source.block("else:"):
            _unknown(source, keep=keep)
    else:
        _unknown(source, keep=keep)


def _unknown(source: Source, *, keep: bool) -> None:
    source.line("position = skip(data, position, end, tag, depth, state)")
    if keep:
        with source.block("if unknown is None:"):
            source.line("unknown = []")
        source.line("unknown.append(data[start:position])")


def _local(field: Field) -> str:
    return f"field_{field.number}"


def _default(source: Source, field: Field) -> str:
    if field.key is not None:
        return "{}"
    if field.repeated:
        return "[]"
    return "None" if field.presence else _zero(source, field.kind, str(field.number))


def _zero(source: Source, kind: Kind, label: str) -> str:
    if kind.type == "enum":
        return source.constant(f"ZERO_{label}", Members(kind.cls)[0])
    if kind.type in VARINT:
        return "False" if kind.type == "bool" else "0"
    return {"string": "''", "bytes": "b''", "double": "0.0", "float": "0.0"}.get(kind.type, "0")


def _add_cases(
    source: Source, cases: dict[int, Callable[[], None]], field: Field, fields: list[Field], *, counted: bool
) -> None:
    kind, label, local = field.kind, str(field.number), _local(field)
    if field.key is not None:

        def entry() -> None:
            _stop(source)
            source.line(f"key, value = entry_{label}(data, position, stop, depth - 1, state)")
            source.lines(f"{local}[key] = value", "position = stop")

        cases[field.tag(2)] = entry
    elif field.repeated:

        def one() -> None:
            _read(source, kind, label, "None")
            source.line(f"{local}.append(value)")

        cases[field.tag()] = one
        if kind.packable:
            cases[field.tag(2)] = lambda: _read_packed(source, kind, label, local, counted=counted)
    else:

        def single() -> None:
            _read(source, kind, label, local, target=local)
            for other in fields:
                if field.group is not None and other.group == field.group and other is not field:
                    source.line(f"{_local(other)} = None")

        cases[field.tag()] = single


def _stop(source: Source) -> None:
    """Read a length; ``stop`` is where the value ends."""
    source.lines("size = data[position]", "position += 1")
    with source.block("if size > 127:"):
        source.line("size, position = prefix(data, position - 1)")
    source.line("stop = position + size")
    with source.block("if stop > end:"):
        source.line("raise Broken")


def _read(source: Source, kind: Kind, label: str, before: str, *, target: str = "value") -> None:
    """Read one value into ``target``; ``before`` names what a message is merged into."""
    if kind.type in VARINT:
        _read_varint(source, kind, label, target)
    elif kind.type in FIXED:
        letter, size = FIXED[kind.type]
        unpack = source.constant(f"unpack_{label}", Struct("<" + letter).unpack_from)
        source.lines(f"({target},) = {unpack}(data, position)", f"position += {size}")
    else:
        _stop(source)
        if kind.type == "string":
            source.line(f"{target} = data[position:stop].decode()")
        elif kind.type == "bytes":
            source.line(f"{target} = data[position:stop]")
        else:
            _read_message(source, kind, label, before, target)
        source.line("position = stop")


def _read_message(source: Source, kind: Kind, label: str, before: str, target: str) -> None:
    source.constant(f"Message_{label}", kind.cls)
    call = f"decode_{label}(data, position, stop, depth - 1, state"
    if not kind.wrapper:
        source.line(f"{target} = {call})" if before == "None" else f"{target} = {call}, {before})")
        return
    if before != "None":
        call += f", {before} if {before} is None else Message_{label}.from_wrapped({before})"
    moment = kind.native == "timestamp"
    source.line(f"{target} = moment({call}))" if moment else f"{target} = {call}).to_wrapped()")


_FOLD = {
    "int32": ("{0} &= 0xFFFFFFFF", "if {0} > 0x7FFFFFFF: {0} -= 0x100000000"),
    "int64": ("if {0} > 0x7FFFFFFFFFFFFFFF: {0} -= 0x10000000000000000",),
    "uint32": ("{0} &= 0xFFFFFFFF",),
    "uint64": (),
    "sint32": ("{0} &= 0xFFFFFFFF",),
    "sint64": (),
    "bool": (),
    "enum": ("{0} &= 0xFFFFFFFF", "if {0} > 0x7FFFFFFF: {0} -= 0x100000000"),
}
"""What a varint of more than one byte needs to become a number of its type."""


def _read_varint(source: Source, kind: Kind, label: str, target: str) -> None:
    source.lines(f"{target} = data[position]", "position += 1")
    with source.block(f"if {target} > 127:"):
        source.line(f"{target}, position = varint(data, position - 1)")
        for text in _FOLD[kind.type]:
            source.line(text.format(target))
    if kind.type in ("sint32", "sint64"):
        source.line(f"{target} = {target} >> 1 ^ -({target} & 1)")
    elif kind.type == "bool":
        source.line(f"{target} = {target} != 0")
    elif kind.type == "enum":
        source.line(f"{target} = {source.constant(f'MEMBERS_{label}', Members(kind.cls))}[{target}]")


_FOLD_MANY = {
    "int32": "[(one & 0xFFFFFFFF ^ 0x80000000) - 0x80000000 for one in values]",
    "int64": "[(one ^ 0x8000000000000000) - 0x8000000000000000 for one in values]",
    "uint32": "[one & 0xFFFFFFFF for one in values]",
    "sint32": "[(one & 0xFFFFFFFF) >> 1 ^ -(one & 1) for one in values]",
    "sint64": "[one >> 1 ^ -(one & 1) for one in values]",
    "enum": "[(one & 0xFFFFFFFF ^ 0x80000000) - 0x80000000 for one in values]",
}


def _read_packed(source: Source, kind: Kind, label: str, local: str, *, counted: bool) -> None:
    """Read the values of a packed field; numbers of one byte need no loop."""
    _stop(source)
    if kind.type in FIXED:
        letter, size = FIXED[kind.type]
        with source.block(f"if size % {size}:"):
            source.line("raise Broken")
        source.line(f'{local}.extend(unpack_from(f"<{{size // {size}}}{letter}", data, position))')
    else:
        source.lines("values = data[position:stop]")
        if counted and kind.type == "enum":
            _count_packed(source, kind)
        with source.block("if not values.isascii():"):
            if counted and kind.type != "enum":
                _count_packed(source, kind)
            source.line("values = varints(values)")
            if kind.type in _FOLD_MANY:
                source.line(f"values = {_FOLD_MANY[kind.type]}")
        if kind.type in ("sint32", "sint64"):
            with source.block("else:"):
                source.line("values = [ZIGZAG[one] for one in values]")
        elif kind.type == "bool":
            source.line("values = map(bool, values)")
        elif kind.type == "enum":
            members = source.constant(f"MEMBERS_{label}", Members(kind.cls))
            source.line(f"values = [{members}[one] for one in values]")
        source.line(f"{local}.extend(values)")
    source.line("position = stop")


def _count_packed(source: Source, kind: Kind) -> None:
    """Take the packed varints that Python looks at one by one from the budget: four numbers cost what a field does."""
    source.line(f"state[0] -= count(values){'' if kind.type == 'enum' else ' >> 2'}")
    with source.block("if state[0] < 0:"):
        source.line("raise TooMany(position)")


def _write_entry(source: Source, field: Field, key: Kind, *, counted: bool) -> None:
    """Add the decoder of one map entry, a message of a key and a value that drops what else it has."""
    label = str(field.number)
    with source.block(f"def entry_{label}(data, position, end, depth, state):"):
        with source.block("if not depth:"):
            source.line("raise Broken")
        source.line(f"key = {_zero(source, key, f'{label}_key')}")
        source.line("value = None" if field.kind.type == "message" else f"value = {_zero(source, field.kind, label)}")
        cases: dict[int, Callable[[], None]] = {
            8 | key.wire: lambda: _read(source, key, f"{label}_key", "None", target="key"),
            16 | field.kind.wire: lambda: _read(source, field.kind, label, "value"),
        }
        _loop(source, cases, counted=counted, keep=False)
        if field.kind.type == "message":
            with source.block("if value is None:"):
                wrapped = ".to_wrapped()" if field.kind.wrapper else ""
                source.line(f"value = decode_{label}(b'', 0, 0, depth - 1, state){wrapped}")
        source.line("return key, value")
