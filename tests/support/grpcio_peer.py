"""grpcio, the C core's Python face, as the other side: its synchronous API in threads, with raw bytes as messages."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import grpc

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import Channel
from orbit_net.server import Server

CLIENT = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.use_local_subchannel_pool", 1))
"""Connect again at once; and share no connection with another test."""
SERVER = (("grpc.so_reuseport", 1),)
"""Let another server listen on the same port."""


async def in_thread(function, *arguments, **options):
    """Call ``function`` in a thread; a cancelled test leaves it behind."""
    return await anyio.to_thread.run_sync(partial(function, *arguments, **options), abandon_on_cancel=True)


class GrpcioStub:
    """The methods of :class:`echo.Echo` on a grpcio channel, as grpcio's multi-callables."""

    def __init__(self, channel):
        self.channel = channel
        self.unary = channel.unary_unary("/test.Echo/Unary")
        self.count = channel.unary_stream("/test.Echo/Count")
        self.sum = channel.stream_unary("/test.Echo/Sum")
        self.chat = channel.stream_stream("/test.Echo/Chat")


@asynccontextmanager
async def grpcio_client(target, *, options=(), credentials=None):
    """Give a :class:`GrpcioStub` connected to ``target``, over TLS if there are credentials."""
    options = [*CLIENT, *options]
    if credentials is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, credentials, options=options)
    try:
        yield GrpcioStub(channel)
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(channel.close)


@asynccontextmanager
async def our_server(service=None, *, address="127.0.0.1:0", settings=None, options=(), credentials=None, **given):
    """Give ``(server, stub)``: our server, and grpcio's client of it."""
    async with Server([service or Echo()], codec=RawCodec(), settings=settings, **given) as server:
        [target] = await server.listen(address)
        async with grpcio_client(target, options=options, credentials=credentials) as stub:
            yield server, stub


class GrpcioEcho:
    """Answers like :class:`echo.Echo`, in the shape of grpcio's handlers. Subclass it to answer otherwise."""

    def unary(self, request, context):
        """Answer with the request."""
        return request

    def count(self, request, context):
        """Answer with the numbers below the request."""
        for number in range(int(request)):
            yield b"%d" % number

    def sum(self, requests, context):
        """Answer with the sum of the requests."""
        return b"%d" % sum(int(request) for request in requests)

    def chat(self, requests, context):
        """Answer each request with itself."""
        yield from requests

    def handler(self):
        """Return what a grpcio server takes."""
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        return grpc.method_handlers_generic_handler("test.Echo", methods)


@asynccontextmanager
async def grpcio_server(
    service=None,
    *,
    address="127.0.0.1:0",
    handlers=(),
    options=(),
    compression=None,
    threads=32,
    credentials=None,
):
    """Give ``(server, target)`` of a grpcio server."""
    with ThreadPoolExecutor(threads) as pool:
        server = grpc.server(pool, options=[*SERVER, *options], compression=compression)
        server.add_generic_rpc_handlers([(service or GrpcioEcho()).handler(), *handlers])
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        host, colon, _ = address.rpartition(":")
        try:
            yield server, address if address.startswith("unix:") else f"{host}{colon}{port}"
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(server.stop(0).wait)


@asynccontextmanager
async def our_client(service=None, *, settings=None, codec=None, given=None, **options):
    """Give ``(server, stub)``: a grpcio server, and our client of it; ``stub.channel`` is the channel."""
    async with grpcio_server(service, **options) as (server, target):
        async with Channel(target, codec=codec or RawCodec(), settings=settings, **(given or {})) as channel:
            yield server, EchoStub(channel)


class Signal:
    """An event that a thread sets and a test waits for."""

    def __init__(self):
        self._event = anyio.Event()
        self._token = anyio.lowlevel.current_token()

    def set(self):
        """Set it, from any thread but that of the event loop."""
        anyio.from_thread.run_sync(self._event.set, token=self._token)

    async def wait(self):
        """Wait until it is set."""
        await self._event.wait()

    def is_set(self):
        """Whether it is set."""
        return self._event.is_set()
