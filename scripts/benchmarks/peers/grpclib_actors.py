"""grpclib with betterproto2's messages, by grpclib's own codec."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from grpclib.client import Channel, StreamStreamMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from orbit_net.proto.orbit.shared import MessageProto

from ..echo import Connection, Duplex

_PATH = "/orbit.shared.ConnectionService/OpenStream"


class _Echo:
    async def stream(self, stream: Stream[MessageProto, MessageProto]) -> None:
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {_PATH: Handler(self.stream, Cardinality.STREAM_STREAM, MessageProto, MessageProto)}


@asynccontextmanager
async def serving(service: Any) -> AsyncGenerator[str, None]:
    """Serve one grpclib service on a port chosen by the system; yields ``host:port``."""
    server = Server([service])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        await server.start(sock=listener)
        yield f"{host}:{port}"
        server.close()


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    async with serving(_Echo()) as address:
        yield address


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Connection, None]:
    host, _, port = address.rpartition(":")
    async with Channel(host, int(port)) as channel:
        method = StreamStreamMethod(channel, _PATH, MessageProto, MessageProto)
        yield Connection(_no_unary, partial(_stream, method))


async def _no_unary(message: bytes) -> bytes:
    raise LookupError("the actor stream has no unary call")


@asynccontextmanager
async def _stream(method: StreamStreamMethod[MessageProto, MessageProto]) -> AsyncGenerator[Duplex, None]:
    async with method.open() as call:
        await call.send_request()
        yield Duplex(call.send_message, call.end, call.recv_message, call)
