"""The receiving half of a client's call: headers, messages, trailers, and what they mean together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from multidict import MultiDict

from orbit_net.client.response import Outcome, headers_fault, outcome_of
from orbit_net.errors import CodecError, LocalProtocolError, RpcError
from orbit_net.interceptor import Hooked
from orbit_net.net import Failure
from orbit_net.status import Status
from orbit_net.wire.assembler import CompressedMessage, MessageError
from orbit_net.wire.compression import decompress
from orbit_net.wire.metadata import decode_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.attempt import Attempt
    from orbit_net.client.channel import Channel
    from orbit_net.client.config.method import Method
    from orbit_net.net import Stream
    from orbit_net.wire import HeaderBlock
    from orbit_net.wire.metadata import Metadata

__all__ = ["Receiving"]

Reply = TypeVar("Reply")


class Receiving(Hooked, ABC, Generic[Reply]):
    """What a :class:`~orbit_net.client.ClientStream` receives. At most one task receives at a time."""

    def __init__(
        self,
        channel: Channel,
        method: Method,
        attempt: Attempt,
        reply_type: type[Reply],
        *,
        client_streaming: bool,
        server_streaming: bool,
    ) -> None:
        super().__init__()
        self._channel = channel
        self._method = method
        self._path = method.path
        self._attempt = attempt
        self._reply_type = reply_type
        self._client_streaming = client_streaming
        self._server_streaming = server_streaming
        self._requested = False
        self._received = 0
        self._headers_read = False
        self._initial: Metadata | None = None
        self._trailing: Metadata | None = None

    @abstractmethod
    async def send_request(self, *, end: bool = False) -> None:
        """Send the request headers."""

    @property
    def initial_metadata(self) -> Metadata | None:
        """The metadata of the response headers; None until they arrived, empty for a trailers-only response."""
        stream = self._attempt.stream
        if self._initial is not None:
            return self._initial
        if stream is None or (stream.headers is None and stream.trailers is None):
            return None
        return MultiDict() if stream.headers is None else self._metadata(stream.headers)

    @property
    def trailing_metadata(self) -> Metadata | None:
        """The metadata of the trailers; None until they arrived."""
        if self._trailing is not None:
            return self._trailing
        stream = self._attempt.stream
        return None if stream is None or stream.trailers is None else self._metadata(stream.trailers)

    def _metadata(self, block: HeaderBlock) -> Metadata:
        try:
            return decode_metadata(block.fields)
        except ValueError as error:
            raise self._attempt.fail(Failure(Status.INTERNAL, str(error))) from None

    @property
    def answered(self) -> bool:
        """Whether the server has ended the call, so that it wants no more messages."""
        attempt = self._attempt
        stream = attempt.stream
        return stream is not None and stream.ended and not attempt.may_begin_again(stream)

    async def recv_initial_metadata(self) -> None:
        """Wait for the response headers; :attr:`initial_metadata` is there then.

        Raises :class:`RpcError` when the call failed instead, or ended at once with a status other than OK.
        """
        while True:
            stream = await self._receiving()
            if stream.headers is not None:
                self._read_headers(stream)
                if self._channel.listeners:
                    await self._show(stream)
                return
            if not stream.ended and stream.failure is None:
                await stream.arrival()
            elif not await self._attempt.begin_again(stream):
                if self._channel.listeners:
                    await self._show(stream)
                self._finish_or_raise(stream)
                return

    async def recv_message(self) -> Reply | None:
        """Return the next message, or None after the last one of a call that ended with OK.

        Raises :class:`RpcError` when it ended otherwise.
        """
        while True:
            stream = self._attempt.stream
            if stream is None or self._attempt.failure is not None:
                stream = await self._receiving()
            data = await stream.receive()
            if stream.headers is not None and not self._headers_read:
                self._read_headers(stream)
            if data is None and await self._attempt.begin_again(stream):
                continue
            if self._channel.listeners:
                await self._show(stream, ended=data is None)
            if data is not None:
                return await self._decode(data, stream)
            self._finish_or_raise(stream)
            return None

    async def recv_trailing_metadata(self) -> None:
        """Wait for the end of the call; :attr:`trailing_metadata` is there then. Messages not taken yet are dropped.

        Raises :class:`RpcError` for a status other than OK.
        """
        while True:
            stream = await self._receiving()
            while await stream.receive() is not None:
                self._received += 1
            if stream.headers is not None:
                self._read_headers(stream)
            if not await self._attempt.begin_again(stream):
                if self._channel.listeners:
                    await self._show(stream)
                self._finish_or_raise(stream)
                return

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _decode(self, data: bytes, stream: Stream) -> Reply:
        self._received += 1
        if self._received > 1 and not self._server_streaming:
            raise self._attempt.fail(Failure(Status.UNIMPLEMENTED, "a unary response came with more than one message"))
        if type(data) is CompressedMessage:
            data = self._decompress(data, stream)
        try:
            message = self._channel.codec.decode(data, self._reply_type)
        except CodecError as error:
            raise self._attempt.fail(
                Failure(Status.INTERNAL, f"the reply of {self._path} is broken: {error}"), error
            ) from error
        if self._channel.listeners:
            message = await self._channel.dispatch_reply(message)
        if self._hooks is not None:
            message = await self._hooks.received(message)
        return cast("Reply", message)

    def _decompress(self, data: bytes, stream: Stream) -> bytes:
        """Inflate a message here, where the application takes it, and not where the connection is read."""
        encoding = None if stream.headers is None else stream.headers.encoding
        settings, limit = self._channel.settings, self._method.max_receive
        if limit is None:
            limit = settings.max_receive_message
        try:
            return decompress(data, encoding, settings.accept_compression, limit)
        except MessageError as error:
            raise self._attempt.fail(Failure(error.status, error.reason)) from None

    async def _receiving(self) -> Stream:
        """Return the stream to receive from. A full-duplex call may begin with receiving: that sends the headers."""
        if not self._requested:
            if not self._client_streaming:
                raise LocalProtocolError("a unary request needs its message before there is anything to receive")
            await self.send_request()
        return await self._attempt.connected()

    def _read_headers(self, stream: Stream) -> None:
        """Commit the call, and fail it when what answers is no gRPC server."""
        self._headers_read = True
        self._attempt.replay.commit()
        fault = None if stream.headers is None else headers_fault(stream.headers)
        if fault is not None:
            raise self._attempt.fail(Failure(fault.status, fault.message or ""))

    async def _show(self, stream: Stream, *, ended: bool = True) -> None:
        """Show headers, and trailers if this is the end, to the listeners, who may change the metadata."""
        if self._initial is None and (stream.headers is not None or stream.trailers is not None):
            initial = MultiDict() if stream.headers is None else self._metadata(stream.headers)
            self._initial = await self._channel.dispatch_initial_metadata(initial)
        if ended and self._trailing is None and stream.trailers is not None:
            trailing = self._metadata(stream.trailers)
            self._trailing = await self._channel.dispatch_trailing_metadata(trailing, self._finish())

    def _finish(self) -> Outcome:
        """Return how the ended call ended, with what the protocol adds: one reply is due for a unary call."""
        stream = self._attempt.stream
        assert stream is not None
        outcome = outcome_of(stream.trailers)
        if outcome.status is Status.OK and not self._server_streaming and not self._received and not stream.inbox:
            return Outcome(Status.UNIMPLEMENTED, "a unary call ended with OK and without a message")
        return outcome

    def _finish_or_raise(self, stream: Stream) -> None:
        if stream.failure is not None:
            raise self._attempt.lost(stream)
        outcome = self._finish()
        throttle = self._channel.retrying.throttle
        if throttle is not None and outcome.status is Status.OK and not self._attempt.over:
            throttle.succeeded()
        self._attempt.over = True
        if outcome.status is not Status.OK:
            raise self._rpc_error(outcome)

    def _rpc_error(self, outcome: Outcome) -> RpcError:
        trailers = self.trailing_metadata
        details = self._channel.decode_details(outcome)
        unpack = _unpack if isinstance(details, bytes) else None
        return RpcError(outcome.status, outcome.message, details, trailing_metadata=trailers, unpack=unpack)

    def _ending(self) -> tuple[Status, str | None]:
        """Return the status and the text of a call that is being let go, for hooks."""
        attempt = self._attempt
        stream = attempt.stream
        if stream is not None and attempt.failure is None:
            if stream.failure is None and stream.ended:
                outcome = self._finish()
                return outcome.status, outcome.message
            attempt.failure = stream.failure
        if attempt.failure is None:
            return Status.CANCELLED, "the call was left before its end"
        error = attempt.error()
        if isinstance(error, RpcError):
            return error.status, error.message
        return Status.UNKNOWN, f"it was ended by {type(error).__name__}"


def _unpack(error: RpcError) -> Sequence[Any]:
    """Return the messages in the details of an error of a channel that has no codec for them."""
    from orbit_net.details import StatusDetailsCodec  # noqa: PLC0415 - few calls need its messages

    return StatusDetailsCodec().decode(error.status, error.message, error.details)
