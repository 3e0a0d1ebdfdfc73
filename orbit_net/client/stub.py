"""The base of generated stubs: the four kinds of call."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from grpclib.const import Cardinality

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from grpclib.metadata import Deadline

    from orbit_net.client.call import ClientStream
    from orbit_net.client.channel import Channel
    from orbit_net.client.config.service_config import RetryPolicy
    from orbit_net.client.pool.endpoint import PooledConnection
    from orbit_net.wire.metadata import Metadata, MetadataLike

__all__ = ["ResponseStream", "Stub"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class ResponseStream(Generic[Reply]):
    """The replies of a server-streaming call, to be iterated over.

    The request is sent when the iteration begins, or on entering ``async with``. To leave early, use the block, or call
    :meth:`aclose`: the server is told at once. Raises :class:`~orbit_net.errors.RpcError` when the call fails.
    """

    def __init__(self, call: ClientStream[Any, Reply], request: Any) -> None:
        self._call = call
        self._request = request
        self._begun = False
        self._sent = False

    @property
    def initial_metadata(self) -> Metadata | None:
        """The metadata of the response headers; None until they arrived."""
        return self._call.initial_metadata

    @property
    def trailing_metadata(self) -> Metadata | None:
        """The metadata of the trailers; None until they arrived."""
        return self._call.trailing_metadata

    async def _send(self) -> None:
        """Send the request; what was cancelled before the message was queued can be repeated."""
        self._begun = True
        try:
            await self._call.send_message(self._request, end=True)
        finally:
            self._sent = self._call.sent > 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        try:
            if not self._sent:
                await self._send()
            message = await self._call.recv_message()
        except Exception:
            self._call.close()
            raise
        if message is None:
            self._call.close()
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> Self:
        try:
            if not self._sent:
                await self._send()
        except BaseException:
            self._call.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.close()

    async def aclose(self) -> None:
        """Cancel the call if it is still open. Does not wait."""
        self._call.close()

    def __del__(self) -> None:
        if self._begun:
            self._call.close()

    def __repr__(self) -> str:
        return f"<ResponseStream of {self._call!r}>"


class Stub:
    """Calls of one service on one channel.

    ``timeout`` (seconds for each call), ``deadline``, ``metadata`` and ``compression`` ("gzip", "deflate", "identity")
    hold for every call that does not say otherwise. ``wait_for_ready`` makes calls wait instead of fail while no
    connection can be made; None leaves it to the service config. ``retry`` False takes no notice of its retry policies,
    and a :class:`~orbit_net.client.RetryPolicy` replaces them. ``hash_key`` is what the policy ``RingHash`` goes by.
    """

    def __init__(
        self,
        channel: Channel | PooledConnection,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        compression: str | None = None,
        wait_for_ready: bool | None = None,
        retry: bool | RetryPolicy = True,
        hash_key: str | bytes | None = None,
    ) -> None:
        self.channel = channel
        self.timeout = timeout
        self.deadline = deadline
        self.metadata = metadata
        self.compression = compression
        self.wait_for_ready = wait_for_ready
        self.retry = retry
        self.hash_key = hash_key

    def having(self, **options: Any) -> Self:
        """Return the stub with other options, to be used for some calls or for one.

        The options are those of the class; what is not named stays as it is.

        Example::

            await GreeterStub(channel).having(retry=False, wait_for_ready=True).say(Hello(name="Ada"))
        """
        names = ("timeout", "deadline", "metadata", "compression", "wait_for_ready", "retry", "hash_key")
        return type(self)(self.channel, **{name: getattr(self, name) for name in names} | options)

    def _call(
        self,
        path: str,
        cardinality: Cardinality,
        request_type: type[Request],
        reply_type: type[Reply],
        timeout: float | None,
        deadline: Deadline | None,
        metadata: MetadataLike | None,
        compression: str | None,
    ) -> ClientStream[Request, Reply]:
        return self.channel.request(
            path,
            cardinality,
            request_type,
            reply_type,
            timeout=self.timeout if timeout is None else timeout,
            deadline=self.deadline if deadline is None else deadline,
            metadata=self.metadata if metadata is None else metadata,
            compression=self.compression if compression is None else compression,
            wait_for_ready=self.wait_for_ready,
            retry=self.retry,
            hash_key=self.hash_key,
        )

    async def _unary_unary(
        self,
        path: str,
        request: Any,
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        compression: str | None = None,
    ) -> Reply:
        call = self._call(
            path, Cardinality.UNARY_UNARY, type(request), reply_type, timeout, deadline, metadata, compression
        )
        async with call:
            await call.send_message(request, end=True)
            reply = await call.recv_message()
        assert reply is not None  # a call without its one reply has raised
        return reply

    def _unary_stream(
        self,
        path: str,
        request: Any,
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        compression: str | None = None,
    ) -> ResponseStream[Reply]:
        call = self._call(
            path, Cardinality.UNARY_STREAM, type(request), reply_type, timeout, deadline, metadata, compression
        )
        return ResponseStream(call, request)

    async def _stream_unary(
        self,
        path: str,
        requests: Iterable[Request] | AsyncIterable[Request],
        request_type: type[Request],
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        compression: str | None = None,
    ) -> Reply:
        call = self._call(
            path, Cardinality.STREAM_UNARY, request_type, reply_type, timeout, deadline, metadata, compression
        )
        async with call:
            await call.send_request()
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await call.send_message(request)
            else:
                for request in requests:
                    await call.send_message(request)
            await call.end()
            reply = await call.recv_message()
        assert reply is not None  # a call without its one reply has raised
        return reply

    def _stream_stream(
        self,
        path: str,
        request_type: type[Request],
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        compression: str | None = None,
    ) -> ClientStream[Request, Reply]:
        return self._call(
            path, Cardinality.STREAM_STREAM, request_type, reply_type, timeout, deadline, metadata, compression
        )
