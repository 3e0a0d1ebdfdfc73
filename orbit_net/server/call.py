"""One call of a server, in the shape of grpclib's server stream."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from orbit_net.context import inherited_deadline
from orbit_net.errors import CodecError, LocalProtocolError
from orbit_net.net import is_cancelled
from orbit_net.server.answering import HIDDEN, Answering
from orbit_net.status import Status
from orbit_net.wire.assembler import CompressedMessage, MessageError
from orbit_net.wire.compression import decompress

if TYPE_CHECKING:
    from types import TracebackType

    from anyio import CancelScope
    from grpclib.const import Handler

    from orbit_net.net import Peer, Stream, Timer
    from orbit_net.server.request import RequestHead
    from orbit_net.server.server import Server
    from orbit_net.wire.metadata import Metadata

__all__ = ["ServerStream", "current_call"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_log = logging.getLogger("orbit_net.server")

_current: ContextVar[ServerStream[Any, Any]] = ContextVar("orbit_net_call")


def current_call() -> ServerStream[Any, Any]:
    """Return the call that this task handles; raises :class:`LocalProtocolError` outside a handler."""
    try:
        return _current.get()
    except LookupError:
        raise LocalProtocolError("no call is being handled here") from None


class ServerStream(Answering[Reply], Generic[Request, Reply]):
    """One call being handled: receives messages of one type and sends messages of another.

    The handler's scope is cancelled when the client cancels, disconnects, or the deadline passes. One task may receive
    while others send. :meth:`recv_message` raises :class:`grpclib.GRPCError` for a request that breaks the protocol;
    let it escape, and the client gets its status.
    """

    def __init__(self, server: Server, stream: Stream, head: RequestHead) -> None:
        handler = cast("Handler", head.handler)
        self._client_streaming, server_streaming = handler.cardinality.value
        super().__init__(server, stream, head, handler.reply_type, server_streaming=server_streaming)
        self._handler = handler
        self._request_type: type[Request] = handler.request_type
        self._metadata: Metadata | None = None
        self._timer: Timer | None = None
        self._until: float | None = None
        self._received = 0
        self._handled = False
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
        """When the client stops waiting, or None. Calls made inside the handler inherit it.

        It can be brought forward, not put off: the call ends at the earlier of the two.
        """
        if self._until is None:
            return None
        return Deadline.from_timeout(max(0.0, self._until - anyio.current_time()))

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        until = anyio.current_time() + deadline.time_remaining()
        if self._until is not None and self._until <= until:
            return
        if self._timer is not None:
            self._server.timers.cancel(self._timer)
        self._until = until
        self._timer = self._server.timers.add(until, self)
        inherited_deadline.set(until)

    @property
    def user_agent(self) -> str | None:
        """What the client says that it is."""
        return self._head.user_agent

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self._stream.connection.peer

    @property
    def previous_attempts(self) -> int:
        """How often the client has tried this call before (gRFC A6); 0 for its first attempt."""
        return self._head.previous_attempts

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
        if type(data) is CompressedMessage:
            data = self._decompress(data)
        try:
            message: Request = self._server.codec.decode(data, self._request_type)
        except CodecError as error:
            raise GRPCError(Status.INTERNAL, f"the request message is broken: {error}") from error
        if self._server.listeners:
            (message,) = await self._server.__dispatch__.recv_message(message)
        if self._hooks is not None:
            message = await self._hooks.received(message)
        return message

    def _decompress(self, data: bytes) -> bytes:
        """Inflate a message here, where the handler takes it, and not where the connection is read."""
        settings = self._server.settings
        try:
            return decompress(data, self._head.encoding, settings.accept_compression, settings.max_receive_message)
        except MessageError as error:
            raise GRPCError(error.status, error.reason) from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

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

    async def run(self) -> None:
        """Run the handler and answer with what came of it. Raises only cancellation."""
        _current.set(self)
        if self._until is not None:
            inherited_deadline.set(self._until)
        try:
            if self._server.chain is None:
                await self.handle()
            else:
                await self._server.chain(self)
            if not self._trailers_sent and self._stream.failure is None:
                await self._answer()
        except Exception as error:  # noqa: BLE001 - whatever a handler raises becomes a status
            await self._answer_exception(error)
        except anyio.get_cancelled_exc_class():
            if not is_cancelled():
                _log.error("the handler of %s let a foreign cancellation escape", self.method, exc_info=True)
                self._try_trailers(Status.UNKNOWN, HIDDEN)
            raise

    async def handle(self) -> None:
        """Run the handler: what the chain of interceptors ends in. Raises what the handler raises."""
        if self._handled:
            raise LocalProtocolError(f"an interceptor of {self.method} went on twice")
        self._handled = True
        func = self._handler.func
        if self._server.listeners:
            func = await self._dispatch_request(func)
        await func(self)

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
        if self._hooks is not None:
            self._hooks.ended(*self._ending())
        self._stream.release()

    def _ending(self) -> tuple[Status, str | None]:
        """Return the status that was sent; without one, why there is nobody to send it to."""
        if self._status is not None:
            return self._status
        failure = self._stream.failure
        if failure is not None:
            return failure.status, failure.message
        return Status.CANCELLED, "the call was reset by its handler"

    def __repr__(self) -> str:
        state = "answered" if self._trailers_sent else "cancelled" if self.cancelled else "open"
        return f"<ServerStream {self.method} {state}, {self._received} received, {self._sent} sent>"
