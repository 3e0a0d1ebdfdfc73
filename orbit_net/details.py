"""What an error says beside its status and its text: messages that a program can read.

They travel as one ``google.rpc.Status`` in the trailer ``grpc-status-details-bin``, as in every other gRPC. Here are
those that everybody knows. A handler gives them, and its client reads them::

    current_call().abort(Status.NOT_FOUND, "no such colour", details=[ErrorInfo(reason="COLOUR", domain="paint")])

    except RpcError as error:
        info = error.detail(ErrorInfo)

Source: gRPC's *error handling* guide, "Richer error model"; ``google.rpc.Status`` and its *error details*.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import betterproto2
from grpclib.encoding.base import StatusDetailsCodecBase

from orbit_net.codec import Codec
from orbit_net.errors import CodecError, EncodeError
from orbit_net.proto.google.protobuf import Any as AnyMessage
from orbit_net.proto.google.rpc import (
    BadRequest,
    BadRequestFieldViolation,
    DebugInfo,
    ErrorInfo,
    Help,
    HelpLink,
    LocalizedMessage,
    PreconditionFailure,
    PreconditionFailureViolation,
    QuotaFailure,
    QuotaFailureViolation,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)
from orbit_net.proto.google.rpc import Status as RichStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orbit_net.status import Status

__all__ = [
    "AnyMessage",
    "BadRequest",
    "BadRequestFieldViolation",
    "DebugInfo",
    "ErrorInfo",
    "Help",
    "HelpLink",
    "LocalizedMessage",
    "PreconditionFailure",
    "PreconditionFailureViolation",
    "QuotaFailure",
    "QuotaFailureViolation",
    "RequestInfo",
    "ResourceInfo",
    "RetryInfo",
    "RichStatus",
    "StatusDetailsCodec",
]

_PREFIX: Final = "type.googleapis.com/"
_STANDARD: Final[tuple[type[Any], ...]] = (
    BadRequest,
    DebugInfo,
    ErrorInfo,
    Help,
    LocalizedMessage,
    PreconditionFailure,
    QuotaFailure,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)


class StatusDetailsCodec(StatusDetailsCodecBase):
    """Details as a list of messages: the ``status_details_codec`` of a channel or a server, in grpclib's shape.

    A server without one encodes messages by it, and a channel without one leaves ``error.details`` as bytes and reads
    them by it in :attr:`RpcError.rich_details <orbit_net.errors.RpcError.rich_details>`; with it ``error.details`` is
    the list. ``types`` are classes of your own that it reads beside the standard ones; any generated message can be
    written. Raises :class:`EncodeError` for a class whose name in protobuf is not known.
    """

    def __init__(self, types: Iterable[type[Any]] = ()) -> None:
        self._codec = Codec()
        self._types: dict[str, type[Any]] = {}
        for kind in (*_STANDARD, *types):
            self._types[_name(kind)] = kind

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        """Return the ``google.rpc.Status`` of an error.

        ``details`` is a message or several: betterproto2's, google.protobuf's, or an ``Any`` as it is. A whole
        :class:`RichStatus`, or bytes that hold one, are left as they are.
        """
        if isinstance(details, bytes):
            return details
        if not isinstance(details, RichStatus):
            several = isinstance(details, (list, tuple))
            packed = [self.pack(detail) for detail in (details if several else [details])]
            details = RichStatus(code=status.value, message=message or "", details=packed)
        return self._codec.encode(details, RichStatus)

    def decode(self, status: Status, message: str | None, data: bytes) -> list[Any]:
        """Return the messages of an error; empty for bytes that are broken, because the status is worth more.

        A message of a type that is not known, or that is broken itself, stays an :class:`AnyMessage`.
        """
        try:
            rich: RichStatus = self._codec.decode(data, RichStatus)
        except CodecError:
            return []
        return [self.unpack(detail) for detail in rich.details]

    def pack(self, message: Any) -> AnyMessage:
        """Return ``message`` with the name of its type."""
        if isinstance(message, AnyMessage):
            return message
        name = _name(type(message))
        return AnyMessage(type_url=_PREFIX + name, value=self._codec.encode(message, type(message)))

    def unpack(self, packed: AnyMessage) -> Any:
        """Return the message in ``packed``, or ``packed`` if its type is not known or it is broken."""
        kind = self._types.get(packed.type_url.rpartition("/")[2])
        if kind is None:
            return packed
        try:
            return self._codec.decode(packed.value, kind)
        except CodecError:
            return packed

    def __repr__(self) -> str:
        return f"<StatusDetailsCodec of {len(self._types)} types>"


def _name(kind: type[Any]) -> str:
    """Return what protobuf calls a generated class."""
    descriptor = getattr(kind, "DESCRIPTOR", None)  # google.protobuf's
    if descriptor is not None:
        return str(descriptor.full_name)
    if issubclass(kind, betterproto2.Message):
        # Generated modules register their messages in a pool of their package, and a class does not name it.
        pool = getattr(sys.modules.get(kind.__module__), "default_message_pool", None)
        if pool is not None and kind in pool.type_to_url:
            return str(pool.type_to_url[kind]).removeprefix(_PREFIX)
    raise EncodeError(
        f"status details are messages, and {kind.__name__} has no known name in protobuf: pack it in an Any"
    )
