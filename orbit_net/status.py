"""Status values and the tables that map foreign codes to them: data only.

Sources: the public gRPC documents *statuscodes*, *http-grpc-status-mapping* and *PROTOCOL-HTTP2* (section "Errors").
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from grpclib.const import Status
from h2.errors import ErrorCodes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STATUS_BY_NUMBER", "STATUS_BY_TEXT", "Status", "status_from_http", "status_from_reset"]

STATUS_BY_NUMBER: Mapping[int, Status] = MappingProxyType({status.value: status for status in Status})

STATUS_BY_TEXT: Mapping[bytes, Status] = MappingProxyType({b"%d" % status.value: status for status in Status})
"""``grpc-status`` as it stands on the wire: an integer without leading zeros."""

_HTTP: Mapping[bytes, Status] = MappingProxyType(
    {
        b"400": Status.INTERNAL,
        b"401": Status.UNAUTHENTICATED,
        b"403": Status.PERMISSION_DENIED,
        b"404": Status.UNIMPLEMENTED,
        b"429": Status.UNAVAILABLE,
        b"502": Status.UNAVAILABLE,
        b"503": Status.UNAVAILABLE,
        b"504": Status.UNAVAILABLE,
    }
)

_RESET: Mapping[int, Status] = MappingProxyType(
    {
        ErrorCodes.NO_ERROR: Status.INTERNAL,
        ErrorCodes.PROTOCOL_ERROR: Status.INTERNAL,
        ErrorCodes.INTERNAL_ERROR: Status.INTERNAL,
        ErrorCodes.FLOW_CONTROL_ERROR: Status.INTERNAL,
        ErrorCodes.SETTINGS_TIMEOUT: Status.INTERNAL,
        ErrorCodes.FRAME_SIZE_ERROR: Status.INTERNAL,
        ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
        ErrorCodes.CANCEL: Status.CANCELLED,
        ErrorCodes.COMPRESSION_ERROR: Status.INTERNAL,
        ErrorCodes.CONNECT_ERROR: Status.INTERNAL,
        ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
        ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
    }
)


def status_from_http(http_status: bytes) -> Status:
    """Return the status of a response that has an HTTP status and no ``grpc-status``."""
    return _HTTP.get(http_status, Status.UNKNOWN)


def status_from_reset(error_code: int) -> Status:
    """Return the status of a call that the peer ended by RST_STREAM with ``error_code``."""
    return _RESET.get(error_code, Status.UNKNOWN)
