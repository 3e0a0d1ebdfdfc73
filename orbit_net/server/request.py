"""What the headers of a request say: its method, its timeout, or why it cannot be served. Pure, remembered per block.

Source: PROTOCOL-HTTP2 "Requests"; errors as grpc-go answers them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from multidict import MultiDict

from orbit_net.status import Status
from orbit_net.wire.compression import accepted_by
from orbit_net.wire.metadata import decode_metadata
from orbit_net.wire.timeouts import decode_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpclib.const import Handler

    from orbit_net.server.settings import ServerSettings
    from orbit_net.wire import HeaderBlock
    from orbit_net.wire.metadata import Metadata

__all__ = ["Rejection", "RequestHead", "read_request"]

_KNOWN: Final = frozenset({b"te", b"content-type", b"user-agent", b"grpc-timeout", b"grpc-accept-encoding"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer to a request that reaches no handler."""

    status: Status
    message: str
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request that can be served, or the ``rejection`` that it gets; ``timeout`` in seconds.

    ``encoding`` is that of its compressed messages, ``accepts`` are those that the client can read, and ``compression``
    is the server's own, if it is among them.
    """

    path: str
    handler: Handler | None = None
    timeout: float | None = None
    content_type: str = ""
    user_agent: str | None = None
    metadata: Metadata = field(default_factory=MultiDict)
    encoding: str | None = None
    accepts: frozenset[str] = frozenset()
    compression: str | None = None
    previous_attempts: int = 0
    rejection: Rejection | None = None


def read_request(block: HeaderBlock, handlers: Mapping[str, Handler], settings: ServerSettings) -> RequestHead:
    """Return what ``block`` asks for."""
    path = block.pseudo[b":path"].decode("latin-1")
    content_type = block.get(b"content-type") or b""
    handler = handlers.get(path)
    rejection = _reject(block, content_type, path, handler, settings)
    if rejection is not None:
        return RequestHead(path, rejection=rejection)
    timeout_text = block.get(b"grpc-timeout")
    user_agent = block.get(b"user-agent")
    accepts = accepted_by(block.get(b"grpc-accept-encoding"))
    try:
        timeout = None if timeout_text is None else decode_timeout(timeout_text)
        metadata = decode_metadata(pair for pair in block.fields if pair[0] not in _KNOWN)
    except ValueError as error:
        return RequestHead(path, rejection=Rejection(Status.INTERNAL, str(error)))
    return RequestHead(
        path,
        handler,
        timeout,
        content_type.decode("latin-1"),
        None if user_agent is None else user_agent.decode("latin-1"),
        metadata,
        block.encoding,
        accepts,
        settings.compression if settings.compression in accepts else None,
        _count(block.get(b"grpc-previous-rpc-attempts")),
    )


def _count(value: bytes | None) -> int:
    """Return a small number, 0 where there is none: what a client says of its retries must not fail the call."""
    return int(value) if value is not None and value.isdigit() and len(value) <= 9 else 0


def _reject(
    block: HeaderBlock, content_type: bytes, path: str, handler: Handler | None, settings: ServerSettings
) -> Rejection | None:
    if block.size > settings.max_header_list:
        text = f"{block.size} bytes of headers are more than the limit of {settings.max_header_list}"
        return Rejection(Status.RESOURCE_EXHAUSTED, text)
    if block.pseudo[b":method"] != b"POST":
        return Rejection(Status.INTERNAL, "gRPC requests are POST requests", http_status=405)
    if not content_type.startswith(b"application/grpc") or content_type[16:17] not in (b"", b"+", b";"):
        shown = content_type[:64].decode("latin-1")
        return Rejection(Status.UNKNOWN, f"the content-type {shown!r} is not application/grpc", http_status=415)
    if handler is None:
        return Rejection(Status.UNIMPLEMENTED, f"Method not found: {path[:256]}")
    if block.encoding is not None and block.encoding not in settings.accept_compression:
        return Rejection(Status.UNIMPLEMENTED, f"the grpc-encoding {block.encoding[:64]!r} is not supported")
    return None
