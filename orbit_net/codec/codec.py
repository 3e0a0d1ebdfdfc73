"""The codec of a channel or a server: what it must be, the compiled one, and the one that asks the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from orbit_net.codec.compiled import counting_decoder_of, decoder_of, encoder_of
from orbit_net.codec.explain import explain_bytes, explain_message
from orbit_net.codec.fields import is_compilable
from orbit_net.codec.runtime import TooMany, finish
from orbit_net.errors import ConfigurationError, DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AnyCodec", "Codec", "MessageCodec", "content_type_of"]

_DEPTH: Final = 101
"""A message and a hundred messages within each other: the limit of all other protobuf parsers."""


_SMALL: Final = 32768
"""Bytes of a message whose elements need not be counted: it cannot be long about them."""


class AnyCodec(Protocol):
    """What a channel or a server needs to know about messages; grpclib's codecs fit as well.

    A codec may have ``__content_subtype__``: it is written after ``application/grpc+``; without it, or when it is
    ``proto``, the content type is plain ``application/grpc``, which every peer reads as protobuf.
    """

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of ``message``."""
        ...

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message of ``message_type`` that ``data`` holds."""
        ...


class MessageCodec:
    """Protobuf messages by their own methods: betterproto2, betterproto and google.protobuf classes alike.

    All three write by ``SerializeToString`` and read by ``FromString``. Raises :class:`EncodeError` for an object that
    is not of the expected type and :class:`DecodeError` for bytes that do not parse.
    """

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of ``message``, which must be an instance of ``message_type``."""
        _check_type(message, message_type)
        try:
            data: bytes = message.SerializeToString()
        except Exception as error:
            raise EncodeError(f"{type(message).__name__} cannot be encoded: {error}") from error
        return data

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return a new ``message_type`` read from ``data``."""
        try:
            return message_type.FromString(data)
        except Exception as error:
            raise DecodeError(f"{len(data)} bytes are not a valid {message_type.__name__}: {error}") from error


class Codec:
    """Protobuf for betterproto2's classes by functions compiled for each; other classes by their own methods.

    The first message of a class costs some milliseconds; the class keeps what was compiled for it. Encoding gives the
    bytes that ``bytes(message)`` gives, and decoding the object that ``parse`` gives, but where betterproto2 departs
    from the specification of protobuf: -0.0 is written; both parts of a negative Duration are negative, and a long one
    is not rounded; the parts of a nested message or a oneof's message that comes in pieces are merged; a later member
    of a oneof clears the earlier; numbers wrap to the width of their type; fields with another wire type than theirs
    are kept as unknown; groups are skipped. A Python value that does not fit its field is refused by
    :class:`EncodeError` with the path of the field, and input that is not protobuf by :class:`DecodeError` with the
    offset in bytes and the path. A hundred messages may be nested, groups and map entries included, as in google's
    parsers. What a datetime, a timedelta or a plain value cannot hold is lost, or refused if it is out of their range.

    ``max_elements`` bounds what one message may cost, since time goes by elements and not by bytes: 4 MiB, the default
    limit of a received message, hold 2 million empty messages, or 5 seconds. An element is a field, wherever it is
    nested, also in an unknown group; one more for each sixteen fields of the class of a message, since each must be
    set; a packed enum value; four packed numbers, where one of the field takes two bytes or more. Packed numbers of
    one byte or of fixed width, strings and bytes cost nothing beside: Python copies them at once, 4 MiB in 70 ms or
    less. Measured at the default of 100,000 with 4 MiB of the worst of each kind, until all is read or refused: empty
    messages 30 ms (of a class with 27 fields 110 ms), unknown fields 45 ms, map entries 94 ms, one-byte packed
    fields 17 ms, packed numbers of two bytes 50 ms (400,000 of them), unknown enum numbers 85 ms, timestamps 135 ms;
    damage at the end, which is looked for a second time, 170 ms. Messages of up to 32 KiB are not counted.
    """

    __content_subtype__ = "proto"

    def __init__(self, *, max_elements: int = 100_000) -> None:
        if max_elements < 1:
            raise ConfigurationError(f"max_elements is {max_elements!r}; it must be at least 1")
        self.max_elements = max_elements
        self._encoders: dict[Any, Callable[[Any], bytes]] = {}
        self._decoders: dict[Any, Callable[..., Any]] = {}
        self._others = MessageCodec()

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of ``message``, which must be an instance of ``message_type``."""
        if message.__class__ is not message_type:
            _check_type(message, message_type)
        encode = self._encoders.get(message_type)
        if encode is None:
            encode = self._encoders[message_type] = self._encoder(message_type)
        try:
            return encode(message)
        except EncodeError:
            raise
        except Exception as error:
            raise _encode_error(message, error) from error

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return a new ``message_type`` read from ``data``."""
        decode = self._decoders.get(message_type)
        if decode is None:
            decode = self._decoders[message_type] = self._decoder(message_type)
        return decode(data)

    def _encoder(self, cls: Any) -> Callable[[Any], bytes]:
        if is_compilable(cls):
            return encoder_of(cls)
        return lambda message: self._others.encode(message, cls)

    def _decoder(self, cls: Any) -> Callable[[bytes], Any]:
        if not is_compilable(cls):
            return lambda data: self._others.decode(data, cls)
        fast, limit = decoder_of(cls), self.max_elements
        small = min(_SMALL, 2 * limit)  # a field takes two bytes at least

        def decode(data: bytes) -> Any:
            if data.__class__ is not bytes:
                data = bytes(data)
            size = len(data)
            state = [limit]
            try:
                if size <= small:
                    message = fast(data, 0, size, _DEPTH, state)
                else:
                    message = counting_decoder_of(cls)(data, 0, size, _DEPTH, state)
                if len(state) > 1:
                    finish(state)
            except Exception as error:
                raise _decode_error(data, cls, error, limit) from error
            return message

        return decode


def _check_type(message: Any, message_type: Any) -> None:
    if not isinstance(message, message_type):
        expected = getattr(message_type, "__name__", message_type)
        raise EncodeError(f"the method takes {expected}, not {type(message).__name__}")


def _encode_error(message: Any, error: Exception) -> EncodeError:
    name = type(message).__name__
    if isinstance(error, RecursionError):
        return EncodeError(f"{name} cannot be encoded: nested too deeply")
    found = explain_message(message, _DEPTH)
    if found is None:
        return EncodeError(f"{name} cannot be encoded: {error!r}")
    return EncodeError(f"{found[1]}: {found[0]}")


def _decode_error(data: bytes, cls: Any, error: Exception, limit: int) -> DecodeError:
    if isinstance(error, RecursionError):
        return DecodeError(f"{cls.__name__}: nested too deeply for what is left of the stack")
    if isinstance(error, TooMany):
        return DecodeError(f"{cls.__name__} at byte {error.args[0]} of {len(data)}: more than {limit} elements")
    found = explain_bytes(data, cls, _DEPTH)
    if found is None:
        # Of the parts of a wrapped value that came in pieces each was right by itself.
        return DecodeError(f"{cls.__name__} at byte 0 of {len(data)}: no Python value for what was merged: {error}")
    reason, offset, path = found
    return DecodeError(f"{path} at byte {offset} of {len(data)}: {reason}")


def content_type_of(codec: AnyCodec) -> bytes:
    """Return the content type that a codec's messages travel under."""
    subtype = getattr(codec, "__content_subtype__", "proto")
    return b"application/grpc" if subtype == "proto" else f"application/grpc+{subtype}".encode()
