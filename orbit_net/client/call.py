"""One call of a client, in the shape of grpclib's client stream.

No cancel scope is held between two of the user's calls, so a call may be entered inside an async generator (PEP 789).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

import anyio.lowlevel
from multidict import MultiDict

from orbit_net.client.attempt import Attempt
from orbit_net.client.response import Outcome, headers_fault, outcome_of
from orbit_net.client.sender import Sender
from orbit_net.errors import CodecError, LocalProtocolError, RpcError
from orbit_net.net import Failure
from orbit_net.status import Status
from orbit_net.wire.metadata import decode_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence
    from types import TracebackType

    from grpclib.const import Cardinality

    from orbit_net.client.channel import Channel
    from orbit_net.net import Peer, Stream
    from orbit_net.wire import HeaderBlock, HeaderTemplate
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.metadata import Metadata

__all__ = ["ClientStream"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class ClientStream(Generic[Request, Reply]):
    """One call: an async context manager that sends messages of one type and receives messages of another.

    Made by :meth:`Channel.request <orbit_net.client.Channel.request>` or by a generated stub. Every operation raises
    :class:`~orbit_net.errors.RpcError` when the call has failed, with the status that the server sent or that the
    public status mapping gives; the call is over then. Leaving the block normally waits for the status of a call whose
    answer is due, and raises it unless it is OK; leaving it early or by an exception cancels the call (RST_STREAM).

    One task may receive while others send. Cancellation of any operation leaves the call usable.
    """

    def __init__(
        self,
        channel: Channel,
        path: str,
        template: HeaderTemplate,
        cardinality: Cardinality,
        request_type: type[Request],
        reply_type: type[Reply],
        *,
        deadline: float | None,
        fields: Sequence[Field],
        wait_for_ready: bool,
    ) -> None:
        self._channel = channel
        self._path = path
        self._client_streaming, self._server_streaming = cardinality.value
        self._request_type = request_type
        self._reply_type = reply_type
        self._attempt = Attempt(
            channel.subchannel,
            channel.timers,
            template,
            deadline=deadline,
            fields=fields,
            wait_for_ready=wait_for_ready,
        )
        self._sender: Sender | None = None
        self._requested = False
        self._sent = 0
        self._received = 0
        self._headers_read = False
        self._initial: Metadata | None = None
        self._trailing: Metadata | None = None

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

    @property
    def peer(self) -> Peer | None:
        """The other end of the connection; None until the request was sent."""
        return None if self._attempt.stream is None else self._attempt.stream.connection.peer

    @property
    def sent(self) -> int:
        """How many messages were queued."""
        return self._sent

    def _metadata(self, block: HeaderBlock) -> Metadata:
        try:
            return decode_metadata(block.fields)
        except ValueError as error:
            raise self._attempt.fail(Failure(Status.INTERNAL, str(error))) from None

    async def send_request(self, *, end: bool = False) -> None:
        """Send the request headers; ``end`` says that no message will follow (client streaming only).

        Called by the first :meth:`send_message` where it was not called before. Waits until there is a connection with
        a free stream, in the order of asking. Raises :class:`RpcError` (UNAVAILABLE) when no connection can be made,
        and DEADLINE_EXCEEDED, without sending, when the time is up already.
        """
        if self._requested:
            raise LocalProtocolError("the request was already sent")
        if end and not self._client_streaming:
            raise LocalProtocolError("a unary request needs one message before its end")
        attempt = self._attempt
        if self._channel.listeners:
            attempt.fields = await self._channel.dispatch_request(self._path, attempt.fields, attempt.deadline)
        self._requested = True
        await attempt.start()
        if end:
            await self.end()

    async def send_message(self, message: Request, *, end: bool = False) -> None:
        """Send one message; ``end`` says that it is the last. A unary request is ended by its only message.

        Returns when the message is queued, and waits while more than the high-water mark is queued on this call. A
        message that the server does not want any more, because it has answered OK already, is dropped. Raises
        :class:`EncodeError` when the message does not fit its type; the call goes on then.
        """
        if not self._requested:
            await self.send_request()
        if not self._client_streaming:
            if self._sent:
                raise LocalProtocolError("a unary request has one message, and it was already sent")
            end = True
        if self._attempt.replay.ended:
            raise LocalProtocolError("the request was already ended")
        if self._channel.listeners:
            message = await self._channel.dispatch_message(message)
        data = self._channel.codec.encode(message, self._request_type)
        limit = self._channel.settings.max_send_message
        if limit is not None and len(data) > limit:
            text = f"the message of {len(data)} bytes is larger than the limit of {limit}"
            raise self._attempt.fail(Failure(Status.RESOURCE_EXHAUSTED, text))
        attempt = self._attempt
        stream = attempt.stream
        if stream is None or stream.failure is not None or stream.ended:
            stream = await self._stream_to_send()
            if stream is None:
                await anyio.lowlevel.checkpoint()  # a loop that goes on sending must not keep the others waiting
                return
        self._sent += 1
        replay = attempt.replay
        replay.ended = end
        if not replay.committed:
            replay.record(data)
        if not stream.send(data, end=end):
            await stream.room()

    async def end(self) -> None:
        """End the request, which may have had no message at all; a unary one has been ended by its message."""
        if not self._client_streaming:
            if not self._sent:
                raise LocalProtocolError("a unary request needs one message before its end")
            return
        if not self._requested:
            await self.send_request(end=True)
            return
        if self._attempt.replay.ended:
            raise LocalProtocolError("the request was already ended")
        stream = self._attempt.stream
        if stream is None or stream.failure is not None or stream.ended:
            stream = await self._stream_to_send()
        self._attempt.replay.ended = True
        if stream is not None:
            stream.send_end()

    def start_sender(self, messages: Iterable[Request] | AsyncIterable[Request]) -> None:
        """Send all ``messages`` and the end of the request from a task of the channel, while this one receives.

        What the iterable raises cancels the call and is raised by the next operation that receives. The sender stops
        when the call is over.
        """
        self._sender = Sender(self, messages)
        self._channel.start_soon(self._sender.run)

    async def _stream_to_send(self) -> Stream | None:
        """Return a stream that takes messages, after a transparent retry if need be; None when none is wanted."""
        while True:
            stream = await self._attempt.connected()
            if stream.failure is not None:
                await self._attempt.retry_or_raise(stream)
            elif not stream.ended:
                return stream
            elif self._finish().status is Status.OK:
                return None
            else:
                self._finish_or_raise()

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
            if stream.ended:
                if self._channel.listeners:
                    await self._show(stream)
                self._finish_or_raise()
                return
            if stream.failure is not None:
                await self._attempt.retry_or_raise(stream)
            else:
                await stream.arrival()

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
            if self._channel.listeners:
                await self._show(stream, ended=data is None)
            if data is not None:
                return await self._decode(data)
            if stream.failure is None:
                self._finish_or_raise()
                return None
            await self._attempt.retry_or_raise(stream)

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
            if self._channel.listeners:
                await self._show(stream)
            if stream.failure is None:
                self._finish_or_raise()
                return
            await self._attempt.retry_or_raise(stream)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _decode(self, data: bytes) -> Reply:
        self._received += 1
        if self._received > 1 and not self._server_streaming:
            raise self._attempt.fail(Failure(Status.UNIMPLEMENTED, "a unary response came with more than one message"))
        try:
            message = self._channel.codec.decode(data, self._reply_type)
        except CodecError as error:
            raise self._attempt.fail(
                Failure(Status.INTERNAL, f"the reply of {self._path} is broken: {error}"), error
            ) from error
        if self._channel.listeners:
            message = await self._channel.dispatch_reply(message)
        return cast("Reply", message)

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

    async def cancel(self) -> None:
        """Cancel the call: the server is told by RST_STREAM, and what arrived is dropped. Does not wait."""
        self._attempt.end_by(Failure(Status.CANCELLED, "the call was cancelled by its caller", urgent=True))
        self._attempt.over = True

    def _finish(self) -> Outcome:
        """Return how the ended call ended, with what the protocol adds: one reply is due for a unary call."""
        stream = self._attempt.stream
        assert stream is not None
        outcome = outcome_of(stream.trailers)
        if outcome.status is Status.OK and not self._server_streaming and not self._received and not stream.inbox:
            return Outcome(Status.UNIMPLEMENTED, "a unary call ended with OK and without a message")
        return outcome

    def _finish_or_raise(self) -> None:
        outcome = self._finish()
        self._attempt.over = True
        if outcome.status is not Status.OK:
            raise self._rpc_error(outcome)

    def _rpc_error(self, outcome: Outcome) -> RpcError:
        trailers = self.trailing_metadata
        details = self._channel.decode_details(outcome)
        return RpcError(outcome.status, outcome.message, details, trailing_metadata=trailers)

    @property
    def answered(self) -> bool:
        """Whether the server has ended the call, so that it wants no more messages."""
        stream = self._attempt.stream
        return stream is not None and stream.ended

    def fail_by(self, error: Exception) -> None:
        """End the call because its request iterator raised ``error``, which the receiving side raises again."""
        if self._attempt.failure is None and not self._attempt.closed:
            self._attempt.raised = error
        failure = Failure(Status.CANCELLED, "the request iterator failed", urgent=True)
        self._attempt.end_by(failure, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._requested and not self._attempt.over:
                stream = self._attempt.stream
                done = stream is not None and stream.ended and not stream.inbox and self._attempt.failure is None
                if done and not self._channel.listeners:
                    self._finish_or_raise()
                else:
                    await self._await_status()
        finally:
            self.close()

    async def _await_status(self) -> None:
        """Wait for the status where it is due; a stream of replies that was left early is cancelled instead."""
        stream = self._attempt.stream
        if self._attempt.replay.ended and (self._client_streaming or not self._server_streaming):
            await self.recv_trailing_metadata()
            if self._received > 1 and not self._server_streaming:
                raise self._attempt.fail(
                    Failure(Status.UNIMPLEMENTED, "a unary response came with more than one message")
                )
        elif stream is not None and not stream.inbox and (stream.ended or stream.failure is not None):
            await self.recv_trailing_metadata()

    def close(self) -> None:
        """Let go of the call at once, cancelling what is still open. Does not wait, may be called more than once."""
        if self._sender is not None:
            self._sender.stop()
        self._attempt.close()

    def __repr__(self) -> str:
        attempt = self._attempt
        state = "over" if attempt.over else "open" if attempt.stream else "waiting" if self._requested else "new"
        return f"<ClientStream {self._path} {state}, {self._sent} sent, {self._received} received>"
