"""orbit_net: stub and service in the shape of generated code, raw bytes through a codec of our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from grpclib.const import Cardinality, Handler

from orbit_net.client import Channel, ClientStream, Stub
from orbit_net.server import Server, ServerStream, Service

from ..echo import STREAM, UNARY, Connection, Duplex


class _Raw:
    """Messages are bytes already."""

    def encode(self, message: bytes, message_type: type[bytes]) -> bytes:
        return message

    def decode(self, data: bytes, message_type: type[bytes]) -> bytes:
        return data


class _EchoStub(Stub):
    async def unary(self, request: bytes) -> bytes:
        return await self._unary_unary(UNARY, request, bytes)

    def stream(self) -> ClientStream[bytes, bytes]:
        return self._stream_stream(STREAM, bytes, bytes)


class _Echo(Service):
    async def unary(self, request: bytes) -> bytes:
        return request

    async def stream(self, stream: ServerStream[bytes, bytes]) -> None:
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            UNARY: Handler(self._unary_unary(self.unary), Cardinality.UNARY_UNARY, bytes, bytes),
            STREAM: Handler(self._stream_stream(self.stream), Cardinality.STREAM_STREAM, bytes, bytes),
        }


@asynccontextmanager
async def serve(**options: Any) -> AsyncGenerator[str, None]:
    async with Server([_Echo()], codec=_Raw(), **options) as server:
        addresses = await server.listen("127.0.0.1:0")
        yield addresses[0]
        server.close()


@asynccontextmanager
async def connect(address: str, **options: Any) -> AsyncGenerator[Connection, None]:
    async with Channel(address, codec=_Raw(), **options) as channel:
        stub = _EchoStub(channel)
        yield Connection(stub.unary, partial(_stream, stub))


@asynccontextmanager
async def _stream(stub: _EchoStub) -> AsyncGenerator[Duplex, None]:
    async with stub.stream() as call:
        await call.send_request()  # a pipelined workload may read before it has sent
        yield Duplex(call.send_message, call.end, call.recv_message, call)
