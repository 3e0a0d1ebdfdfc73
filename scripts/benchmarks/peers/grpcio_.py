"""grpcio's asyncio API: no serializers, so bytes pass through."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio

from ..echo import SERVICE, STREAM, UNARY, Connection, Duplex

# a proxy named in the environment must not come between the two processes
_OPTIONS = [("grpc.enable_http_proxy", 0)]


async def _unary(request: bytes, context: Any) -> bytes:
    return request


async def _echo(requests: Any, context: Any) -> AsyncGenerator[bytes, None]:
    async for message in requests:
        yield message


@asynccontextmanager
async def serve(
    credentials: grpc.ServerCredentials | None = None, compression: grpc.Compression | None = None
) -> AsyncGenerator[str, None]:
    methods = {
        UNARY.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(_unary),
        STREAM.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(_echo),
    }
    server = grpc.aio.server(compression=compression)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(grace=None)


@asynccontextmanager
async def connect(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    compression: grpc.Compression | None = None,
) -> AsyncGenerator[Connection, None]:
    if credentials is None:
        opened = grpc.aio.insecure_channel(address, options=_OPTIONS, compression=compression)
    else:
        opened = grpc.aio.secure_channel(address, credentials, options=_OPTIONS, compression=compression)
    async with opened as channel:
        yield Connection(channel.unary_unary(UNARY), partial(_stream, channel.stream_stream(STREAM)))


@asynccontextmanager
async def _stream(method: Any) -> AsyncGenerator[Duplex, None]:
    call = method()
    yield Duplex(call.write, call.done_writing, call.read, call)
