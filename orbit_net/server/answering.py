"""The sending half of a server's call: headers, messages, and the one status that ends it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from multidict import MultiDict

from orbit_net.errors import LocalProtocolError, RpcError
from orbit_net.interceptor import Hooked
from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport
from orbit_net.server.load import load_field, merged, record
from orbit_net.server.response import NO_FIELDS, OK_TRAILERS, status_fields
from orbit_net.status import Status
from orbit_net.wire import compression as codings
from orbit_net.wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orbit_net.net import Stream
    from orbit_net.server.load import Load
    from orbit_net.server.request import RequestHead
    from orbit_net.server.server import Server
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.metadata import MetadataLike

__all__ = ["HIDDEN", "Answering"]

Reply = TypeVar("Reply")

_log = logging.getLogger("orbit_net.server")

HIDDEN: Final = "Internal Server Error"
"""What a client learns of an exception in a handler; its text is for the log."""


class Answering(Hooked, Generic[Reply]):
    """What a :class:`~orbit_net.server.ServerStream` sends.

    Invariant: once ``_trailers_sent`` is set, nothing more is sent. Several tasks may send messages.
    """

    def __init__(
        self, server: Server, stream: Stream, head: RequestHead, reply_type: type[Reply], *, server_streaming: bool
    ) -> None:
        super().__init__()
        self._server = server
        self._stream = stream
        self._head = head
        self._reply_type = reply_type
        self._server_streaming = server_streaming
        self._compression = head.compression
        self._trailing: list[Field] = []
        self._load: OrcaLoadReport | None = None
        self._whole_load: Load | None = None
        self._headers_sent = False
        self._trailers_sent = False
        self._sent = 0
        self._status: tuple[Status, str | None] | None = None

    @property
    def method(self) -> str:
        """The path of the method: ``/package.Service/Method``."""
        return self._head.path

    def set_compression(self, compression: str | None) -> None:
        """Compress the replies of this call with "gzip" or "deflate", or not at all (None), whatever the server does.

        Without effect when the client does not accept the algorithm: the replies travel as they are. Must come before
        the headers are sent; raises :class:`LocalProtocolError` after that, and for a name that is not known.
        """
        if compression is not None and compression not in codings.ENCODINGS:
            known = " or ".join(map(repr, codings.ENCODINGS))
            raise LocalProtocolError(f"the compression {compression!r} is not known; use {known}, or None")
        if self._headers_sent or self._trailers_sent:
            raise LocalProtocolError("the compression can be chosen until the headers are sent")
        self._compression = compression if compression in self._head.accepts else None

    async def send_initial_metadata(self, *, metadata: MetadataLike | None = None) -> None:
        """Send the response headers now; otherwise they go with the first message. Does not wait."""
        if self._headers_sent or self._trailers_sent:
            raise LocalProtocolError("the initial metadata was already sent")
        self._check_open()
        if self._server.listeners:
            (metadata,) = await self._server.__dispatch__.send_initial_metadata(_multi(metadata))
        self._send_headers(encode_metadata(metadata) if metadata else ())

    def _send_headers(self, extra: Sequence[Field] = ()) -> None:
        compression = self._compression
        server = self._server
        self._stream.send_headers(server.headers if compression is None else server.headers_of[compression], extra)
        self._headers_sent = True

    async def send_message(self, message: Reply, *, compress: bool = True) -> None:
        """Send one message, with the response headers before the first.

        Returns when the message is queued, and waits while more than the high-water mark of 64 KiB is queued on this
        call; before that, unless the message is small, while 4 MiB are queued on its connection. In a call that
        compresses, ``compress=False`` sends this message as it is. Raises :class:`EncodeError` for a message that does
        not fit its type.
        """
        if self._trailers_sent:
            raise LocalProtocolError("the call was already answered")
        if self._sent and not self._server_streaming:
            raise LocalProtocolError(f"{self.method} answers with one message, and it was already sent")
        server = self._server
        if server.listeners:
            (message,) = await server.__dispatch__.send_message(message)
        if self._hooks is not None:
            message = await self._hooks.sent(message)
        data = server.codec.encode(message, self._reply_type)
        limit = server.settings.max_send_message
        if limit is not None and len(data) > limit:
            text = f"the reply of {len(data)} bytes is larger than the limit of {limit}"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        self._check_open()
        if not self._headers_sent:
            if server.listeners:
                await self.send_initial_metadata()
            else:
                self._send_headers()
        if self._compression is not None and compress:
            data = codings.compress(data, self._compression)
        self._sent += 1
        stream = self._stream
        if stream.connection.wire.outbox.crowded:
            await stream.turn(len(data))
            self._check_open()
        if not stream.send(data):
            await stream.room()

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        """End the call with ``status``; done by itself when the handler returns or raises. Does not wait.

        ``status_details`` are as those of :meth:`abort`.
        """
        if self._trailers_sent:
            raise LocalProtocolError("the call was already answered")
        if status is Status.OK and not self._server_streaming and not self._sent:
            raise LocalProtocolError(f"{self.method} must answer with one message before it ends with OK")
        self._check_open()
        if self._server.listeners:
            (metadata,) = await self._server.__dispatch__.send_trailing_metadata(
                _multi(metadata), status=status, status_message=status_message, status_details=status_details
            )
        details = self._server.encode_details(status, status_message, status_details)
        extra = [*self._trailing, *(encode_metadata(metadata) if metadata else ())]
        self._send_trailers(status, status_message, details, extra)

    def _send_trailers(
        self, status: Status, message: str | None, details: bytes | None = None, extra: Sequence[Field] = ()
    ) -> None:
        if (self._load is not None or self._whole_load is not None) and (field := self._load_field()) is not None:
            extra = [*extra, field]
        if status is Status.OK and not message and details is None and self._headers_sent:
            self._stream.send_trailers(OK_TRAILERS, extra)
        else:
            if status is not Status.OK:
                self._stream.connection.wire.traffic.refused += 1
            template = NO_FIELDS if self._headers_sent else self._server.headers
            self._stream.send_trailers(template, [*status_fields(status, message, details), *extra])
        self._trailers_sent = True
        if self._hooks is not None:
            self._status = status, message

    def set_trailing_metadata(self, metadata: MetadataLike) -> None:
        """Say what the trailers will carry beside the status, whatever it will be."""
        self._trailing = encode_metadata(metadata)

    def record_load(
        self,
        *,
        cpu_utilization: float | None = None,
        memory_utilization: float | None = None,
        application_utilization: float | None = None,
        qps: float | None = None,
        eps: float | None = None,
        costs: Mapping[str, float] | None = None,
        utilization: Mapping[str, float] | None = None,
        named_metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Tell the client in the trailers how busy the server is, and what this call cost (gRFC A51).

        Fractions in use (1 is all), calls and errors a second; ``costs`` and the other mappings have the names of the
        application. Later values replace earlier ones. Raises :class:`LocalProtocolError` for one that is negative.
        """
        values = {name: value for name, value in locals().items() if name != "self"}
        if self._load is None:
            self._load = OrcaLoadReport()
        record(self._load, values)

    def report_load(self, whole: Load) -> None:
        """Have the report of the server complete, when the trailers are made, what this call has recorded."""
        self._whole_load = whole

    def _load_field(self) -> Field | None:
        mine, whole = self._load, self._whole_load
        if mine is None:
            return None if whole is None else whole.field()
        return load_field(mine if whole is None else merged(whole.report(), mine))

    def abort(
        self, status: Status, message: str | None = None, details: Any = None, *, metadata: MetadataLike | None = None
    ) -> NoReturn:
        """End the call with ``status`` by raising :class:`grpclib.GRPCError`.

        ``details`` are bytes, or messages such as those of :mod:`orbit_net.details`; with a status details codec of the
        server's, whatever that takes. They are left out if the trailers would be too large for the client.

        The way to pass on a status that a call of the handler's own ended with: an :class:`RpcError` that merely
        escapes becomes UNKNOWN, because the state of another service is not the state of this one.
        """
        if status is Status.OK:
            raise LocalProtocolError("abort needs a status other than OK")
        if metadata is not None:
            self.set_trailing_metadata(metadata)
        raise GRPCError(status, message, details)

    async def cancel(self) -> None:
        """Reset the call: the client sees CANCELLED and no trailers. Does not wait."""
        self._trailers_sent = True
        self._stream.reset(ErrorCodes.CANCEL)

    def _check_open(self) -> None:
        failure = self._stream.failure
        if failure is not None:
            raise GRPCError(failure.status, failure.message)

    async def _answer(self) -> None:
        if not self._server_streaming and not self._sent:
            _log.error("the handler of %s returned without sending its one message", self.method)
            self._try_trailers(Status.UNKNOWN, HIDDEN)
        elif self._server.listeners:
            await self.send_trailing_metadata()
        else:
            self._send_trailers(Status.OK, None, None, self._trailing)

    async def _answer_error(self, error: GRPCError) -> None:
        if error.status is Status.OK:
            _log.error("the handler of %s raised a GRPCError with the status OK", self.method)
            self._try_trailers(Status.UNKNOWN, HIDDEN)
            return
        try:
            details = self._server.encode_details(error.status, error.message, error.details)
        except Exception:  # noqa: BLE001 - the user's codec may raise anything
            _log.exception("the status details of %s cannot be encoded", self.method)
            details = None
        await self._show_trailers(error.status, error.message, error.details)
        self._try_trailers(error.status, error.message, details)

    async def _show_trailers(self, status: Status, message: str | None, details: Any) -> None:
        """Let the listeners add to the trailers of a call that failed."""
        if self._server.listeners and not self._trailers_sent and self._stream.failure is None:
            (metadata,) = await self._server.__dispatch__.send_trailing_metadata(
                MultiDict(), status=status, status_message=message, status_details=details
            )
            self._trailing = [*self._trailing, *encode_metadata(metadata)]

    async def _answer_exception(self, error: Exception) -> None:
        inner = _only_grpc_error(error)
        if inner is not None:
            await self._answer_error(inner)
        elif not self._trailers_sent and self._stream.failure is None:
            _log.error("the handler of %s failed", self.method, exc_info=error)
            await self._show_trailers(Status.UNKNOWN, HIDDEN, None)
            self._try_trailers(Status.UNKNOWN, HIDDEN)

    def _try_trailers(self, status: Status, message: str | None, details: bytes | None = None) -> None:
        """Answer if that is still possible."""
        if self._trailers_sent:
            return
        try:
            self._send_trailers(status, message, details, self._trailing)
        except LocalProtocolError as error:
            if details is not None and self._stream.failure is None:
                _log.error("the status details of %s could not be sent: %s", self.method, error)
                self._try_trailers(status, message)
                return
            self._trailers_sent = True
            if self._stream.failure is None:
                _log.error("the answer of %s could not be sent: %s", self.method, error)
                self._stream.reset(ErrorCodes.INTERNAL_ERROR)


def _only_grpc_error(error: Exception) -> GRPCError | None:
    """Return the GRPCError that a handler's own task group wrapped, if it is the group's only reason."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, GRPCError) and not isinstance(error, RpcError) else None


def _multi(metadata: MetadataLike | None) -> Any:
    return MultiDict(metadata or ())
