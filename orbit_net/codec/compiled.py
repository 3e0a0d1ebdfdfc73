"""The compiled functions of each message class: made when they are first needed, kept by the class itself."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from orbit_net.codec import runtime
from orbit_net.codec.decoder import write_decoder
from orbit_net.codec.encoder import write_encoder
from orbit_net.codec.fields import fields_of
from orbit_net.codec.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from betterproto2 import Message

    from orbit_net.codec.fields import Field

    Encode = Callable[[Any], bytes]
    Decode = Callable[..., Any]

__all__ = ["counting_decoder_of", "decoder_of", "encoder_of", "source_of"]

_RUNTIME = {name: getattr(runtime, name) for name in runtime.__all__} | {
    "new": object.__new__,
    "pack": struct.pack,
    "unpack_from": struct.unpack_from,
}


def encoder_of(cls: type[Message]) -> Encode:
    """Return ``encode(message) -> bytes`` of ``cls``, compiling it if it is the first time."""
    return _kept(cls, "_orbit_net_encode") or _make_encoder(cls)


def decoder_of(cls: type[Message]) -> Decode:
    """Return the decoder of ``cls``, compiling it if it is the first time; see :func:`write_decoder`."""
    return _kept(cls, "_orbit_net_decode") or _make_decoder(cls)


def counting_decoder_of(cls: type[Message]) -> Decode:
    """Return a decoder of ``cls`` that takes each field from its budget."""
    return _kept(cls, "_orbit_net_count") or _make_decoder(cls, counted=True)


def _kept(cls: type[Message], name: str) -> Callable[..., Any] | None:
    """Return a function that was compiled for this class, and not for one it inherits from.

    The class itself keeps it: the function refers to the class, so a table, also one with weak keys, would keep both.
    """
    found: staticmethod[..., Any] | None = vars(cls).get(name)
    return None if found is None else found.__func__


def _keep(cls: type[Message], name: str, function: Callable[..., Any]) -> None:
    setattr(cls, name, staticmethod(function))


def _make_encoder(cls: type[Message]) -> Encode:
    fields = fields_of(cls)
    function = _compile(cls, _encoder_source(fields), fields, "encode", encoder_of)
    _keep(cls, "_orbit_net_encode", function)
    return function


def _make_decoder(cls: type[Message], *, counted: bool = False) -> Decode:
    fields, nested = fields_of(cls), counting_decoder_of if counted else decoder_of
    function = _compile(cls, _decoder_source(cls, fields, counted=counted), fields, "decode", nested)
    _keep(cls, "_orbit_net_count" if counted else "_orbit_net_decode", function)
    return function


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
    exec(compile(str(source), f"<{name} {cls.__module__}.{cls.__qualname__}>", "exec"), namespace)
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
