"""What the headers and trailers of a response say: pure reading, remembered with the block.

Source: PROTOCOL-HTTP2 "Responses", *http-grpc-status-mapping*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orbit_net.errors import RpcError
from orbit_net.net import Failure
from orbit_net.status import STATUS_BY_NUMBER, STATUS_BY_TEXT, Status, status_from_http
from orbit_net.wire.metadata import decode_binary, decode_message

if TYPE_CHECKING:
    from orbit_net.errors import OrbitError
    from orbit_net.wire import HeaderBlock

__all__ = ["Outcome", "headers_fault", "is_grpc", "outcome_of", "refusal_of"]

_CONTENT_TYPE: Final = b"application/grpc"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: its status, and the text and details that came with it."""

    status: Status
    message: str | None = None
    details: bytes | None = None


_FINE: Final = Outcome(Status.OK)


def refusal_of(error: OrbitError) -> Failure:
    """Return how a call fails that has no connection: UNAVAILABLE, or the status that came instead of addresses."""
    if isinstance(error, RpcError):
        return Failure(error.status, error.message or "")
    return Failure(Status.UNAVAILABLE, str(error))


def headers_fault(block: HeaderBlock) -> Outcome | None:
    """Return what is wrong with response headers that are followed by messages, or None."""
    if block.parsed is None:
        block.parsed = _not_grpc(block) or _FINE
    parsed: Outcome = block.parsed
    return None if parsed.status is Status.OK else parsed


def outcome_of(block: HeaderBlock | None) -> Outcome:
    """Return the outcome of trailers or trailers-only headers; ``grpc-status`` wins over the HTTP status."""
    if block is None:
        return Outcome(Status.UNKNOWN, "the response ended without grpc-status")
    if block.parsed is None:
        block.parsed = _read_trailers(block)
    parsed: Outcome = block.parsed
    return parsed


def _read_trailers(block: HeaderBlock) -> Outcome:
    text = block.get(b"grpc-status")
    if text is None:
        fault = _not_grpc(block) if block.pseudo else None
        return fault or Outcome(Status.UNKNOWN, "the response ended without grpc-status")
    status = STATUS_BY_TEXT.get(text)
    message = block.get(b"grpc-message")
    if status is Status.OK and message is None:
        return _FINE
    readable = None if message is None else decode_message(message)
    if status is None:
        number = text.decode("latin-1")
        status = STATUS_BY_NUMBER[Status.UNKNOWN.value]
        readable = f"unknown grpc-status {number}" + (f": {readable}" if readable else "")
    return Outcome(status, readable, _details(block))


def _details(block: HeaderBlock) -> bytes | None:
    value = block.get(b"grpc-status-details-bin")
    try:
        return None if value is None else decode_binary(value)
    except ValueError:
        return None  # details are an extra: a broken one must not hide the status


def _not_grpc(block: HeaderBlock) -> Outcome | None:
    http_status = block.pseudo.get(b":status", b"")
    if http_status != b"200":
        return Outcome(
            status_from_http(http_status), f"HTTP status {http_status.decode('latin-1')} without grpc-status"
        )
    content_type = block.get(b"content-type")
    if content_type is None or not is_grpc(content_type):
        shown = "missing" if content_type is None else repr(content_type[:64].decode("latin-1"))
        return Outcome(Status.UNKNOWN, f"the response is not gRPC: its content-type is {shown}")
    return None


def is_grpc(content_type: bytes) -> bool:
    """Whether a content type is ``application/grpc``, alone or followed by ``+`` or ``;``."""
    rest = content_type[len(_CONTENT_TYPE) :]
    return content_type.startswith(_CONTENT_TYPE) and (not rest or rest[:1] in b"+;")
