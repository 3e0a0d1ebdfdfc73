"""Metadata and the status message as they stand in header fields.

Source: PROTOCOL-HTTP2, "Custom-Metadata" and "Status-Message"; strict where a lenient reader would hide an error:
base64 is checked, comma-joined binary values are split, and what a user gives is validated before anything is sent.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from multidict import MultiDict

from orbit_net.errors import LocalProtocolError

__all__ = [
    "Metadata",
    "MetadataLike",
    "MetadataValue",
    "decode_binary",
    "decode_message",
    "decode_metadata",
    "encode_binary",
    "encode_message",
    "encode_metadata",
]

MetadataValue = str | bytes
MetadataLike = Mapping[str, MetadataValue] | Collection[tuple[str, MetadataValue]]
"""What users give: ``str`` values, or ``bytes`` under keys that end in ``-bin``; a key may occur more than once."""

Metadata = MultiDict[MetadataValue]
"""What users get: a multi-dict with the same rule for values."""

_KEY = re.compile(r"[0-9a-z_.\-]+").fullmatch
_TEXT = re.compile(r"[ -~]*").fullmatch
_RESERVED: Final = frozenset({"te", "content-type", "user-agent", "host"})
_OURS_TO_SAY: Final = frozenset({"grpc-retry-pushback-ms"})
"""Reserved names that applications set: a server says when it may be tried again (gRFC A6, "Pushback")."""
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"})
"""Keys whose values are shown in no text of ours."""
_NOT_METADATA: Final = frozenset({b"te", b"content-type", b"user-agent"})
_UNSAFE = re.compile(rb"[^ -$&-~]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode_metadata(metadata: MetadataLike) -> list[tuple[bytes, bytes]]:
    """Return header fields for ``metadata``.

    Raises :class:`LocalProtocolError` that names the pair when a key or a value cannot be sent; nothing was sent then.
    """
    pairs: Iterable[tuple[str, MetadataValue]] = metadata.items() if isinstance(metadata, Mapping) else metadata
    return [_encode_pair(key, value) for key, value in pairs]


def _encode_pair(key: Any, value: Any) -> tuple[bytes, bytes]:
    if not isinstance(key, str) or _KEY(key) is None:
        raise LocalProtocolError(f"metadata key {key!r}: only the characters 0-9 a-z _ - . are allowed")
    if (key.startswith("grpc-") and key not in _OURS_TO_SAY) or key in _RESERVED:
        raise LocalProtocolError(f"metadata key {key!r} is reserved for the protocol")
    if key.endswith("-bin"):
        if not isinstance(value, (bytes, bytearray)):
            raise LocalProtocolError(
                f"metadata {key!r}: a key that ends in -bin takes bytes, not {type(value).__name__}"
            )
        return key.encode(), encode_binary(bytes(value))
    if not isinstance(value, str):
        raise LocalProtocolError(f"metadata {key!r}: the value must be a str, not {type(value).__name__}")
    if _TEXT(value) is None:
        shown = "the value" if key in _SECRET else f"the value {value!r}"
        raise LocalProtocolError(f"metadata {key!r}: {shown} has a character outside printable ASCII")
    return key.encode(), value.strip(" ").encode()


def decode_metadata(fields: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Return the metadata among header ``fields``; raises :class:`ValueError` for broken base64.

    A text value outside ASCII is not metadata that gRPC allows; the pair is dropped and the call goes on.
    """
    metadata: Metadata = MultiDict()
    for name, value in fields:
        if name in _NOT_METADATA or name.startswith(b"grpc-") or not name.isascii():
            continue
        if name.endswith(b"-bin"):
            for part in value.split(b","):
                metadata.add(name.decode(), decode_binary(part))
        elif value.isascii():
            metadata.add(name.decode(), value.decode().strip(" "))
    return metadata


def encode_binary(value: bytes) -> bytes:
    """Return unpadded base64."""
    return b64encode(value).rstrip(b"=")


def decode_binary(value: bytes) -> bytes:
    """Return the bytes of padded or unpadded base64; raises :class:`ValueError` for anything else."""
    bare = value.strip(b" ")
    try:
        return a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except Base64Error as error:
        raise ValueError(f"binary metadata {value[:32]!r} is not base64: {error}") from None


def encode_message(message: str) -> bytes:
    """Percent-encode a status message: UTF-8, with everything outside space…~ and ``%`` itself escaped."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], message.encode("utf-8", "replace"))


def decode_message(value: bytes) -> str:
    """Undo :func:`encode_message`; broken escapes and broken UTF-8 are kept as readable text, never an error."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), value).decode("utf-8", "replace")
