"""One call of a server, in the shape of grpclib's server stream."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from h2.errors import ErrorCodes
from multidict import MultiDict

from orbit_net.context import inherited_deadline
from orbit_net.errors import CodecError, LocalProtocolError, RpcError
from orbit_net.net import is_cancelled
from orbit_net.server.response import NO_FIELDS, OK_TRAILERS, status_fields
from orbit_net.status import Status
from orbit_net.wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from anyio import CancelScope
    from grpclib.const import Handler

    from orbit_net.net import Peer, Stream, Timer
    from orbit_net.server.request import RequestHead
    from orbit_net.server.server import Server
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.metadata import Metadata, MetadataLike

__all__ = ["ServerStream", "current_call"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_log = logging.getLogger("orbit_net.server")

_HIDDEN: Final = "Internal Server Error"
"""What a client learns of an exception in a handler; its text is for the log."""

_current: ContextVar[ServerStream[Any, Any]] = ContextVar("orbit_net_call")


def current_call() -> ServerStream[Any, Any]:
    """Return the call that this task handles; raises :class:`LocalProtocolError` outside a handler."""
    try:
        return _current.get()
    except LookupError:
        raise LocalProtocolError("no call is being handled here") from None


class ServerStream(Generic[Request, Reply]):
    """One call being handled: receives messages of one type and sends messages of another.

    The handler's scope is cancelled when the client cancels, disconnects, or the deadline passes. One task may receive
    while others send. :meth:`recv_message` raises :class:`grpclib.GRPCError` for a request that breaks the protocol;
    let it escape, and the client gets its status.
    """

    def __init__(self, server: Server, stream: Stream, head: RequestHead) -> None:
        handler = cast("Handler", head.handler)
        self._server = server
        self._stream = stream
        self._head = head
        self._handler = handler
        self._client_streaming, self._server_streaming = handler.cardinality.value
        self._request_type: type[Request] = handler.request_type
        self._reply_type: type[Reply] = handler.reply_type
        self._metadata: Metadata | None = None
        self._trailing: list[Field] = []
        self._timer: Timer | None = None
        self._until: float | None = None
        self._headers_sent = False
        self._trailers_sent = False
        self._sent = 0
        self._received = 0
        self.scope: CancelScope | None = None
        self.cancelled = False
        stream.on_failure = self._failed
        if head.timeout is not None:
            self._until = anyio.current_time() + head.timeout
            self._timer = server.timers.add(self._until, self)

    @property
    def metadata(self) -> Metadata:
        """The client's metadata: text values, and bytes under keys that end in ``-bin``."""
        if self._metadata is None:
            self._metadata = self._head.metadata.copy()
        return self._metadata

    @property
    def deadline(self) -> Deadline | None:
        """When the client stops waiting, or None. Calls made inside the handler inherit it."""
        if self._until is None:
            return None
        return Deadline.from_timeout(max(0.0, self._until - anyio.current_time()))

    @property
    def user_agent(self) -> str | None:
        """What the client says that it is."""
        return self._head.user_agent

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self._stream.connection.peer

    @property
    def method(self) -> str:
        """The path of the method: ``/package.Service/Method``."""
        return self._head.path

    async def recv_message(self) -> Request | None:
        """Return the next message, or None when the client has ended the request.

        A unary request is whole when this returns: one message, then the end.
        """
        stream = self._stream
        if not self._client_streaming:
            if self._received:
                return None
            while not stream.ended and stream.failure is None:
                await stream.arrival()
            if stream.ended and len(stream.inbox) != 1:
                text = f"{self.method} takes one message, and the request had {len(stream.inbox)}"
                raise GRPCError(Status.UNIMPLEMENTED, text)
        data = await stream.receive()
        if data is None:
            if stream.failure is not None:
                await anyio.lowlevel.checkpoint()  # the handler is being cancelled: let it see that, and not an error
                raise GRPCError(stream.failure.status, stream.failure.message)
            return None
        self._received += 1
        try:
            message: Request = self._server.codec.decode(data, self._request_type)
        except CodecError as error:
            raise GRPCError(Status.INTERNAL, f"the request message is broken: {error}") from error
        if self._server.listeners:
            (message,) = await self._server.__dispatch__.recv_message(message)
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def send_initial_metadata(self, *, metadata: MetadataLike | None = None) -> None:
        """Send the response headers now; otherwise they go with the first message. Does not wait."""
        if self._headers_sent or self._trailers_sent:
            raise LocalProtocolError("the initial metadata was already sent")
        self._check_open()
        if self._server.listeners:
            (metadata,) = await self._server.__dispatch__.send_initial_metadata(_multi(metadata))
        self._send_headers(encode_metadata(metadata) if metadata else ())

    def _send_headers(self, extra: Sequence[Field] = ()) -> None:
        self._stream.send_headers(self._server.headers, extra)
        self._headers_sent = True

    async def send_message(self, message: Reply) -> None:
        """Send one message, with the response headers before the first.

        Returns when the message is queued, and waits while more than the high-water mark is queued on this call. Raises
        :class:`EncodeError` for a message that does not fit its type.
        """
        if self._trailers_sent:
            raise LocalProtocolError("the call was already answered")
        if self._sent and not self._server_streaming:
            raise LocalProtocolError(f"{self.method} answers with one message, and it was already sent")
        server = self._server
        if server.listeners:
            (message,) = await server.__dispatch__.send_message(message)
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
        self._sent += 1
        if not self._stream.send(data):
            await self._stream.room()

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        """End the call with ``status``; done by itself when the handler returns or raises. Does not wait.

        ``status_details`` are bytes, or whatever the server's status details codec takes.
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
        if status is Status.OK and not message and details is None and self._headers_sent:
            self._stream.send_trailers(OK_TRAILERS, extra)
        else:
            template = NO_FIELDS if self._headers_sent else self._server.headers
            self._stream.send_trailers(template, [*status_fields(status, message, details), *extra])
        self._trailers_sent = True

    def set_trailing_metadata(self, metadata: MetadataLike) -> None:
        """Say what the trailers will carry beside the status, whatever it will be."""
        self._trailing = encode_metadata(metadata)

    def abort(
        self, status: Status, message: str | None = None, details: Any = None, *, metadata: MetadataLike | None = None
    ) -> NoReturn:
        """End the call with ``status`` by raising :class:`grpclib.GRPCError`.

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Answer with what came of the block, as grpclib's stream does; exceptions end here, cancellation does not."""
        if isinstance(error, Exception):
            await self._answer_exception(error)
        elif error is None and not self._trailers_sent and self._stream.failure is None:
            await self._answer()
        return isinstance(error, Exception)

    def _check_open(self) -> None:
        failure = self._stream.failure
        if failure is not None:
            raise GRPCError(failure.status, failure.message)

    async def run(self) -> None:
        """Run the handler and answer with what came of it. Raises only cancellation."""
        _current.set(self)
        if self._until is not None:
            inherited_deadline.set(self._until)
        try:
            func = self._handler.func
            if self._server.listeners:
                func = await self._dispatch_request(func)
            await func(self)
            if not self._trailers_sent and self._stream.failure is None:
                await self._answer()
        except Exception as error:  # noqa: BLE001 - whatever a handler raises becomes a status
            await self._answer_exception(error)
        except anyio.get_cancelled_exc_class():
            if not is_cancelled():
                _log.error("the handler of %s let a foreign cancellation escape", self.method, exc_info=True)
                self._try_trailers(Status.UNKNOWN, _HIDDEN)
            raise

    async def _dispatch_request(self, func: Any) -> Any:
        self._metadata, func = await self._server.__dispatch__.recv_request(
            self.metadata,
            func,
            method_name=self.method,
            deadline=self.deadline,
            content_type=self._head.content_type,
            user_agent=self.user_agent,
            peer=self.peer,
        )
        return func

    async def _answer(self) -> None:
        if not self._server_streaming and not self._sent:
            _log.error("the handler of %s returned without sending its one message", self.method)
            self._try_trailers(Status.UNKNOWN, _HIDDEN)
        elif self._server.listeners:
            await self.send_trailing_metadata()
        else:
            self._send_trailers(Status.OK, None, None, self._trailing)

    async def _answer_error(self, error: GRPCError) -> None:
        if error.status is Status.OK:
            _log.error("the handler of %s raised a GRPCError with the status OK", self.method)
            self._try_trailers(Status.UNKNOWN, _HIDDEN)
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
            await self._show_trailers(Status.UNKNOWN, _HIDDEN, None)
            self._try_trailers(Status.UNKNOWN, _HIDDEN)

    def _try_trailers(self, status: Status, message: str | None, details: bytes | None = None) -> None:
        """Answer if that is still possible."""
        if self._trailers_sent:
            return
        try:
            self._send_trailers(status, message, details, self._trailing)
        except LocalProtocolError as error:
            self._trailers_sent = True
            if self._stream.failure is None:
                _log.error("the answer of %s could not be sent: %s", self.method, error)
                self._stream.reset(ErrorCodes.INTERNAL_ERROR)

    def _failed(self) -> None:
        """The stream failed: answer if the connection lives, and stop the handler."""
        failure = self._stream.failure
        if failure is not None and failure.error_code is None and not self._stream.connection.closed:
            self._try_trailers(failure.status, failure.message)
        self._cancel_handler()

    def expire(self) -> None:
        """The deadline passed: tell the client and stop the handler."""
        self._try_trailers(Status.DEADLINE_EXCEEDED, "Deadline exceeded")
        self._cancel_handler()

    def _cancel_handler(self) -> None:
        self.cancelled = True
        if self.scope is not None:
            self.scope.cancel()

    def close(self) -> None:
        """The handler has ended, however: give the stream back."""
        if self._timer is not None:
            self._server.timers.cancel(self._timer)
        self._stream.on_failure = None
        if not self._trailers_sent and self._stream.failure is None:
            self._try_trailers(Status.UNAVAILABLE, "the server is shutting down")
        self._stream.release()

    def __repr__(self) -> str:
        state = "answered" if self._trailers_sent else "cancelled" if self.cancelled else "open"
        return f"<ServerStream {self.method} {state}, {self._received} received, {self._sent} sent>"


def _only_grpc_error(error: Exception) -> GRPCError | None:
    """Return the GRPCError that a handler's own task group wrapped, if it is the group's only reason."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, GRPCError) and not isinstance(error, RpcError) else None


def _multi(metadata: MetadataLike | None) -> Any:
    return MultiDict(metadata or ())
