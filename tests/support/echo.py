"""A raw-bytes service of all four kinds, and a channel to it: what most end-to-end tests need."""

from contextlib import asynccontextmanager

from grpclib.const import Cardinality, Handler

from orbit_net.client import Channel, Stub
from orbit_net.server import Server, Service


class RawCodec:
    """Messages are bytes."""

    def encode(self, message, message_type):
        return bytes(message)

    def decode(self, data, message_type):
        return data


class Echo(Service):
    """Answers with what it got. Subclass it to answer otherwise."""

    async def unary(self, request):
        return request

    async def count(self, request):
        for number in range(int(request)):
            yield b"%d" % number

    async def sum(self, requests):
        return b"%d" % sum([int(request) async for request in requests])

    async def chat(self, stream):
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self):
        return {
            "/test.Echo/Unary": Handler(self._unary_unary(self.unary), Cardinality.UNARY_UNARY, bytes, bytes),
            "/test.Echo/Count": Handler(self._unary_stream(self.count), Cardinality.UNARY_STREAM, bytes, bytes),
            "/test.Echo/Sum": Handler(self._stream_unary(self.sum), Cardinality.STREAM_UNARY, bytes, bytes),
            "/test.Echo/Chat": Handler(self._stream_stream(self.chat), Cardinality.STREAM_STREAM, bytes, bytes),
        }


class EchoStub(Stub):
    """Calls an :class:`Echo`."""

    def unary(self, request, **options):
        return self._unary_unary("/test.Echo/Unary", request, bytes, **options)

    def count(self, request, **options):
        return self._unary_stream("/test.Echo/Count", request, bytes, **options)

    def sum(self, requests, **options):
        return self._stream_unary("/test.Echo/Sum", requests, bytes, bytes, **options)

    def chat(self, **options):
        return self._stream_stream("/test.Echo/Chat", bytes, bytes, **options)


@asynccontextmanager
async def running(service=None, *, settings=None, channel_settings=None):
    """Give ``(server, channel, stub)`` connected over loopback TCP."""
    async with Server([service or Echo()], codec=RawCodec(), settings=settings) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target, codec=RawCodec(), settings=channel_settings) as channel:
            yield server, channel, EchoStub(channel)
