"""What mypy must make of generated stubs and bases (``make types``); never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from orbit_net.client import Channel
from orbit_net.interceptors import BearerAuthentication, BearerToken, CallLogging, ConcurrencyLimit, DefaultDeadline
from orbit_net.proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionInfoResponseProto,
    HealthCheckRequest,
    HealthCheckResponse,
    MessageProto,
)
from orbit_net.proto.orbit.shared.services import (
    ConnectionServiceBase,
    ConnectionServiceStub,
    HealthServiceBase,
    HealthServiceStub,
)
from orbit_net.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from typing import Any

    from orbit_net.client import OutgoingCall
    from orbit_net.server import ServerStream


async def unary(channel: Channel) -> None:
    stub = HealthServiceStub(channel, timeout=1.0)
    assert_type(await stub.check(HealthCheckRequest(service="a"), metadata={"key": "value"}), HealthCheckResponse)
    await stub.check(MessageProto())  # type: ignore[arg-type]
    await stub.check(HealthCheckRequest(), 1.0)  # type: ignore[call-arg]
    await stub.check(HealthCheckRequest(), timeout="1 s")  # type: ignore[arg-type]


async def server_streaming(channel: Channel) -> None:
    async with HealthServiceStub(channel).watch(HealthCheckRequest()) as replies:
        async for reply in replies:
            assert_type(reply, HealthCheckResponse)


async def full_duplex(channel: Channel) -> None:
    async with ConnectionServiceStub(channel).open_stream() as stream:
        await stream.send_message(MessageProto(message_id=1))
        await stream.send_message(HealthCheckRequest())  # type: ignore[arg-type]
        assert_type(await stream.recv_message(), MessageProto | None)
        async for message in stream:
            assert_type(message, MessageProto)


class Health(HealthServiceBase):
    """Overrides a server-streaming method by an async generator."""

    async def check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        return HealthCheckResponse()

    async def watch(self, request: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        yield await self.check(request)


class ConnectionByStream(ConnectionServiceBase):
    """Overrides a full duplex method by a coroutine function."""

    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> None:
        async for message in stream:
            await stream.send_message(message)


class ConnectionByGenerator(ConnectionServiceBase):
    """Overrides a full duplex method by an async generator."""

    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> AsyncGenerator[MessageProto, None]:
        async for message in stream:
            yield message


class WrongReply(ConnectionServiceBase):
    """Overrides a method with another reply."""

    async def get_connection_info(  # type: ignore[override]
        self, request: ConnectionInfoRequestProto
    ) -> HealthCheckResponse:
        return HealthCheckResponse()


async def inherited(connection: ConnectionByStream) -> None:
    assert_type(await connection.get_connection_info(ConnectionInfoRequestProto()), ConnectionInfoResponseProto)


async def client_interceptor(call: OutgoingCall, proceed: Callable[[OutgoingCall], Awaitable[None]]) -> None:
    call.metadata["key"] = "value"
    await proceed(call)


async def server_interceptor(
    call: ServerStream[Any, Any], proceed: Callable[[ServerStream[Any, Any]], Awaitable[None]]
) -> None:
    call.on_end(lambda status, text: print(status.name, text))
    await proceed(call)


async def verify(token: str) -> str | None:
    return token or None


def interceptors() -> None:
    Channel("a:1", interceptors=[CallLogging(), DefaultDeadline(1.0), BearerToken("abc"), client_interceptor])
    Server([], interceptors=[CallLogging(), DefaultDeadline(1.0), ConcurrencyLimit(1), server_interceptor])
    Server([], interceptors=[BearerAuthentication(verify)])
    Channel("a:1", interceptors=[server_interceptor])  # type: ignore[list-item]
    Server([], interceptors=[BearerToken("abc")])  # type: ignore[list-item]
