"""The header lists that a server sends, constant ones kept as templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orbit_net.wire import HeaderTemplate
from orbit_net.wire.compression import accept_header
from orbit_net.wire.metadata import encode_binary, encode_message

if TYPE_CHECKING:
    from collections.abc import Collection

    from orbit_net.status import Status
    from orbit_net.wire.hpack import Field

__all__ = ["NO_FIELDS", "OK_TRAILERS", "headers_template", "http_template", "status_fields"]

OK_TRAILERS: Final = HeaderTemplate([(b"grpc-status", b"0")])
NO_FIELDS: Final = HeaderTemplate([])
"""For trailers that carry nothing constant."""

_HTTP_TEMPLATES: Final[dict[int, HeaderTemplate]] = {}


def headers_template(content_type: bytes, accepted: Collection[str], encoding: str | None = None) -> HeaderTemplate:
    """Return response headers, which without ``encoding`` are also the beginning of a trailers-only response.

    ``accepted`` are the encodings that requests may have, ``encoding`` is that of the replies.
    """
    fields = [(b":status", b"200"), (b"content-type", content_type)]
    if encoding is not None:
        fields.append((b"grpc-encoding", encoding.encode()))
    return HeaderTemplate([*fields, (b"grpc-accept-encoding", accept_header(accepted))])


def http_template(http_status: int) -> HeaderTemplate:
    """Return the beginning of an answer to what is no gRPC request."""
    template = _HTTP_TEMPLATES.get(http_status)
    if template is None:
        template = HeaderTemplate([(b":status", b"%d" % http_status), (b"content-type", b"application/grpc")])
        _HTTP_TEMPLATES[http_status] = template
    return template


def status_fields(status: Status, message: str | None = None, details: bytes | None = None) -> list[Field]:
    """Return ``grpc-status`` and what goes with it."""
    fields = [(b"grpc-status", b"%d" % status.value)]
    if message:
        fields.append((b"grpc-message", encode_message(message)))
    if details is not None:
        fields.append((b"grpc-status-details-bin", encode_binary(details)))
    return fields
