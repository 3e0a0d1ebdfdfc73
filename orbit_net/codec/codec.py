"""The codec protocol, and the one that asks the message classes themselves."""

from __future__ import annotations

from typing import Any, Protocol

from orbit_net.errors import DecodeError, EncodeError

__all__ = ["Codec", "MessageCodec", "content_type_of"]


class Codec(Protocol):
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
        if not isinstance(message, message_type):
            expected = getattr(message_type, "__name__", message_type)
            raise EncodeError(f"the method takes {expected}, not {type(message).__name__}")
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


def content_type_of(codec: Codec) -> bytes:
    """Return the content type that a codec's messages travel under."""
    subtype = getattr(codec, "__content_subtype__", "proto")
    return b"application/grpc" if subtype == "proto" else f"application/grpc+{subtype}".encode()
