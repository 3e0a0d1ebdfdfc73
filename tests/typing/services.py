"""What mypy must make of generated stubs and bases (``make types``); never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

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

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from orbit_net.client import Channel
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
