"""What the codec knows of a message class: its fields, read once from betterproto2's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from betterproto2 import FieldMetadata, Message, ProtoClassMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FIXED", "VARINT", "Field", "Kind", "fields_of", "is_compilable"]

VARINT: Final = frozenset({"int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum"})
"""Scalars that travel as varints (wire type 0)."""

FIXED: Final = {
    "fixed32": ("I", 4),
    "sfixed32": ("i", 4),
    "float": ("f", 4),
    "fixed64": ("Q", 8),
    "sfixed64": ("q", 8),
    "double": ("d", 8),
}
"""Scalars of a fixed width: their letter in :mod:`struct`, little-endian, and their size in bytes."""

_NATIVE: Final[dict[type, str]] = {datetime: "timestamp", timedelta: "duration"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One value: its protobuf type, and the class of an enum or a message.

    ``wrapper`` is the message class whose value travels, where Python sees something plainer (a datetime for a
    Timestamp); ``cls`` is the same class then. ``native`` names the function that writes such a value without it.
    """

    type: str
    cls: Any = None
    wrapper: bool = False
    native: str | None = None

    @property
    def wire(self) -> int:
        """The wire type of one value."""
        if self.type in VARINT:
            return 0
        return {4: 5, 8: 1}[FIXED[self.type][1]] if self.type in FIXED else 2

    @property
    def packable(self) -> bool:
        """Whether repeated values may share one length-delimited field."""
        return self.wire != 2


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``presence``: None means absent, and a default is written; ``key`` is there for maps only."""

    name: str
    number: int
    kind: Kind
    presence: bool
    repeated: bool
    group: str | None
    key: Kind | None

    def tag(self, wire: int | None = None) -> int:
        """Return number and wire type as the one integer that precedes the value."""
        return self.number << 3 | (self.kind.wire if wire is None else wire)


def is_compilable(cls: Any) -> bool:
    """Whether ``cls`` is a betterproto2 message class of dataclasses; those of pydantic validate by themselves."""
    if not (isinstance(cls, type) and issubclass(cls, Message)):
        return False
    if hasattr(cls, "__pydantic_core_schema__") or "__dataclass_fields__" not in vars(cls):
        return False
    return set(_metadata(cls).meta_by_field_name) == set(vars(cls)["__dataclass_fields__"])


def fields_of(cls: type[Message]) -> list[Field]:
    """Return the fields in the order in which betterproto2 writes them: that of their declaration."""
    meta = _metadata(cls)
    return [_field(name, found, meta.cls_by_field) for name, found in meta.meta_by_field_name.items()]


def _metadata(cls: Any) -> ProtoClassMetadata:
    found: ProtoClassMetadata = cls._betterproto
    return found


def _field(name: str, meta: FieldMetadata, classes: dict[str, type]) -> Field:
    if meta.map_meta is not None:
        key, value = meta.map_meta
        kind = _kind(value.proto_type, value.unwrap, classes[f"{name}.value"])
        return Field(name, meta.number, kind, False, False, None, Kind(key.proto_type))
    kind = _kind(meta.proto_type, meta.unwrap, classes[name])
    repeated = bool(meta.repeated)
    presence = not repeated and (bool(meta.optional) or meta.group is not None or kind.type == "message")
    return Field(name, meta.number, kind, presence, repeated, meta.group, None)


def _kind(proto_type: str, unwrap: Callable[[], type] | None, cls: type) -> Kind:
    if proto_type == "message":
        if unwrap is None:
            return Kind("message", cls)
        return Kind("message", unwrap(), True, _NATIVE.get(cls))
    return Kind(proto_type, cls if proto_type == "enum" else None)
