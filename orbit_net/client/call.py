"""One call of a client, in the shape of grpclib's client stream.

No cancel scope is held between two of the user's calls, so a call may be entered inside an async generator (PEP 789).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio.lowlevel

from orbit_net.client.opening import Opening
from orbit_net.client.receiving import Receiving
from orbit_net.client.sender import Sender
from orbit_net.errors import LocalProtocolError
from orbit_net.net import Failure
from orbit_net.status import Status
from orbit_net.wire import compression as codings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from types import TracebackType

    from grpclib.const import Cardinality

    from orbit_net.client.attempt import Attempt
    from orbit_net.client.channel import Channel
    from orbit_net.client.config.method import Method
    from orbit_net.client.retry.hedging import HedgeTally
    from orbit_net.net import Peer, Stream

__all__ = ["ClientStream"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class ClientStream(Receiving[Reply], Generic[Request, Reply]):
    """One call: an async context manager that sends messages of one type and receives messages of another.

    Made by :meth:`Channel.request <orbit_net.client.Channel.request>` or by a generated stub. Every operation raises
    :class:`~orbit_net.errors.RpcError` when the call has failed, with the status that the server sent or that the
    public status mapping gives; the call is over then. Leaving the block normally waits for the status of a call whose
    answer is due, and raises it unless it is OK; leaving it early or by an exception cancels the call (RST_STREAM).

    One task may receive while others send. Cancellation of any operation leaves the call usable, except while the
    interceptors of the channel open it: that ends the call.
    """

    def __init__(
        self,
        channel: Channel,
        method: Method,
        attempt: Attempt,
        cardinality: Cardinality,
        request_type: type[Request],
        reply_type: type[Reply],
    ) -> None:
        client_streaming, server_streaming = cardinality.value
        super().__init__(
            channel, method, attempt, reply_type, client_streaming=client_streaming, server_streaming=server_streaming
        )
        self._request_type = request_type
        self._sender: Sender | None = None
        self._opening: Opening | None = None
        self._sent = 0

    @property
    def method(self) -> str:
        """The path of the method: ``/package.Service/Method``."""
        return self._path

    @property
    def secure(self) -> bool:
        """Whether the channel encrypts what it sends (TLS)."""
        return self._channel.secure

    @property
    def peer(self) -> Peer | None:
        """The other end of the connection, that of the last attempt; None until the request was sent."""
        return self._attempt.peer

    @property
    def hedging(self) -> HedgeTally | None:
        """What has become of the hedges of this call; None where the service config has no hedging policy for it."""
        return self._attempt.tally

    @property
    def sent(self) -> int:
        """How many messages were queued."""
        return self._sent

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
        if self._channel.chain is None:
            await self.start_request()
        elif self._opening is None:
            self._opening = Opening(self, self._attempt)
            await self._opening.run(self._channel.chain)
        else:
            await self._opening.wait()
        if end:
            await self.end()

    async def start_request(self) -> None:
        """Send the request headers, when the interceptors have had their say."""
        attempt = self._attempt
        if self._channel.listeners:
            attempt.fields = await self._channel.dispatch_request(self._path, attempt.fields, attempt.deadline)
        self._requested = True
        await attempt.start()

    async def send_message(self, message: Request, *, end: bool = False, compress: bool = True) -> None:
        """Send one message; ``end`` says that it is the last. A unary request is ended by its only message.

        Returns when the message is queued, and waits while more than the high-water mark is queued on this call. A
        message that the server does not want any more, because it has answered OK already, is dropped. In a call that
        compresses, ``compress=False`` sends this message as it is. Raises :class:`EncodeError` when the message does
        not fit its type; the call goes on then.
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
        if self._hooks is not None:
            message = await self._hooks.sent(message)
        data = self._channel.codec.encode(message, self._request_type)
        limit = self._method.max_send
        if limit is not None and len(data) > limit:
            text = f"the message of {len(data)} bytes is larger than the limit of {limit}"
            raise self._attempt.fail(Failure(Status.RESOURCE_EXHAUSTED, text))
        compression = self._method.compression
        if compression is not None and compress:
            data = codings.compress(data, compression)
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
        """Return a stream that takes messages, of a further attempt if need be; None when none is wanted."""
        while True:
            stream = await self._attempt.connected()
            if stream.failure is None and not stream.ended:
                return stream
            if not await self._attempt.begin_again(stream):
                if stream.failure is None and self._finish().status is Status.OK:
                    return None
                self._finish_or_raise(stream)

    async def cancel(self) -> None:
        """Cancel the call: the server is told by RST_STREAM, and what arrived is dropped. Does not wait."""
        self._attempt.end_by(Failure(Status.CANCELLED, "the call was cancelled by its caller", urgent=True))
        self._attempt.over = True
        if self._opening is not None:
            self._opening.stop()

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
                done = stream is not None and stream.headers is not None and stream.ended and not stream.inbox
                if stream is not None and done and self._attempt.failure is None and not self._channel.listeners:
                    self._finish_or_raise(stream)
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
        if self._opening is not None:
            self._opening.stop()
        if self._hooks is not None:
            self._hooks.ended(*self._ending())
        self._attempt.close()

    def __repr__(self) -> str:
        attempt = self._attempt
        state = "over" if attempt.over else "open" if attempt.stream else "waiting" if self._requested else "new"
        return f"<ClientStream {self._path} {state}, {self._sent} sent, {self._received} received>"
