"""grpclib: its own method objects, as its code generator uses them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from ..echo import STREAM, UNARY, Connection, Duplex


class _Raw(CodecBase):
    """Messages are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message  # type: ignore[no-any-return]

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class _Echo:
    async def unary(self, stream: Stream[bytes, bytes]) -> None:
        message = await stream.recv_message()
        assert message is not None
        await stream.send_message(message)

    async def stream(self, stream: Stream[bytes, bytes]) -> None:
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            UNARY: Handler(self.unary, Cardinality.UNARY_UNARY, bytes, bytes),
            STREAM: Handler(self.stream, Cardinality.STREAM_STREAM, bytes, bytes),
        }


@asynccontextmanager
async def serve(tls: ssl.SSLContext | None = None) -> AsyncGenerator[str, None]:
    server = Server([_Echo()], codec=_Raw())
    # asyncio turns Nagle's algorithm off only on sockets whose protocol is named; with it, streams start 40 ms late
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        await server.start(sock=listener, ssl=tls)
        yield f"{host}:{port}"
        # no wait_closed(): from Python 3.12 on it waits for connections that close() leaves open
        server.close()


@asynccontextmanager
async def connect(address: str, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Connection, None]:
    host, _, port = address.rpartition(":")
    async with Channel(host, int(port), codec=_Raw(), ssl=tls) as channel:
        unary = UnaryUnaryMethod(channel, UNARY, bytes, bytes)
        yield Connection(unary, partial(_stream, StreamStreamMethod(channel, STREAM, bytes, bytes)))


@asynccontextmanager
async def _stream(method: StreamStreamMethod[bytes, bytes]) -> AsyncGenerator[Duplex, None]:
    async with method.open() as call:
        await call.send_request()  # a pipelined workload may read before it has sent
        yield Duplex(call.send_message, call.end, call.recv_message, call)
