"""orbit_net: the generated stub and service base of the actor stream, with the codec that is the default."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from orbit_net.client import Channel
from orbit_net.proto.orbit.shared import MessageProto
from orbit_net.proto.orbit.shared.services import ConnectionServiceBase, ConnectionServiceStub
from orbit_net.server import Server, ServerStream

from ..echo import Connection, Duplex


class _Echo(ConnectionServiceBase):
    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> None:
        async for message in stream:
            await stream.send_message(message)


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    async with Server([_Echo()]) as server:
        addresses = await server.listen("127.0.0.1:0")
        yield addresses[0]
        server.close()


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Connection, None]:
    async with Channel(address) as channel:
        stub = ConnectionServiceStub(channel)
        yield Connection(_no_unary, partial(_stream, stub))


async def _no_unary(message: bytes) -> bytes:
    raise LookupError("the actor stream has no unary call")


@asynccontextmanager
async def _stream(stub: ConnectionServiceStub) -> AsyncGenerator[Duplex, None]:
    async with stub.open_stream() as call:
        await call.send_request()
        yield Duplex(call.send_message, call.end, call.recv_message, call)
