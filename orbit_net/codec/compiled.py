"""The compiled functions of each message class: made when they are first needed, kept as long as the class."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from orbit_net.codec import runtime
from orbit_net.codec.decoder import write_decoder
from orbit_net.codec.encoder import write_encoder
from orbit_net.codec.fields import fields_of
from orbit_net.codec.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from betterproto2 import Message

    from orbit_net.codec.fields import Field

    Encode = Callable[[Any], bytes]
    Decode = Callable[..., Any]

__all__ = ["counting_decoder_of", "decoder_of", "encoder_of", "source_of"]

_Cache = WeakKeyDictionary[type, "Callable[..., Any]"]

_encoders: MutableMapping[type, Callable[..., Any]] = _Cache()
_decoders: MutableMapping[type, Callable[..., Any]] = _Cache()
_counting: MutableMapping[type, Callable[..., Any]] = _Cache()

_RUNTIME = {name: getattr(runtime, name) for name in runtime.__all__} | {
    "new": object.__new__,
    "pack": struct.pack,
    "unpack_from": struct.unpack_from,
}


def encoder_of(cls: type[Message]) -> Encode:
    """Return ``encode(message) -> bytes`` of ``cls``, compiling it if it is the first time."""
    found = _encoders.get(cls)
    if found is None:
        fields = fields_of(cls)
        found = _encoders[cls] = _compile(cls, _encoder_source(fields), fields, "encode", encoder_of)
    return found


def decoder_of(cls: type[Message]) -> Decode:
    """Return the decoder of ``cls``, compiling it if it is the first time; see :func:`write_decoder`."""
    found = _decoders.get(cls)
    if found is None:
        fields = fields_of(cls)
        found = _decoders[cls] = _compile(cls, _decoder_source(cls, fields), fields, "decode", decoder_of)
    return found


def counting_decoder_of(cls: type[Message]) -> Decode:
    """Return a decoder of ``cls`` that takes each field from its budget."""
    found = _counting.get(cls)
    if found is None:
        fields = fields_of(cls)
        source = _decoder_source(cls, fields, counted=True)
        found = _counting[cls] = _compile(cls, source, fields, "decode", counting_decoder_of)
    return found


def source_of(cls: type[Message]) -> str:
    """Return the Python text that encodes and decodes ``cls``, for reading."""
    fields = fields_of(cls)
    return f"# {cls.__module__}.{cls.__qualname__}\n\n{_encoder_source(fields)}\n\n{_decoder_source(cls, fields)}"


def _encoder_source(fields: list[Field]) -> Source:
    source = Source()
    write_encoder(source, fields)
    return source


def _decoder_source(cls: type[Message], fields: list[Field], *, counted: bool = False) -> Source:
    source = Source()
    write_decoder(source, fields, cls, counted=counted)
    return source


def _compile(
    cls: type[Message], source: Source, fields: list[Field], name: str, nested: Callable[[Any], Callable[..., Any]]
) -> Callable[..., Any]:
    namespace: dict[str, Any] = {**_RUNTIME, **source.constants}
    for field in fields:
        if field.kind.type == "message":
            _bind_later(namespace, f"{name}_{field.number}", field.kind.cls, nested)
    exec(compile(str(source), f"<{name} {cls.__module__}.{cls.__qualname__}>", "exec"), namespace)  # noqa: S102
    function: Callable[..., Any] = namespace[name]
    return function


def _bind_later(namespace: dict[str, Any], name: str, cls: Any, nested: Callable[[Any], Callable[..., Any]]) -> None:
    """Put a function under ``name`` that compiles the nested class when it is first called, and takes its place.

    So a message class costs nothing until a message of it comes, and classes may contain each other.
    """

    def first(*arguments: Any) -> Any:
        function = namespace[name] = nested(cls)
        return function(*arguments)

    namespace[name] = first
