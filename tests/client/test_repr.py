"""The texts of the long-lived objects: what a person sees in a log or a debugger."""

import re

import pytest

from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import Channel
from orbit_net.server import Server, current_call
from settle import connections_of, until

pytestmark = pytest.mark.anyio


class Remembering(Echo):
    """Keeps the texts of its call at each stage."""

    def __init__(self):
        self.texts = []

    async def chat(self, stream):
        self.texts.append(repr(stream))
        await stream.recv_message()
        await stream.send_message(b"x")
        self.texts.append(repr(current_call()))


async def test_a_channel_and_its_connection():
    """State, streams and waiting calls."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen("127.0.0.1:0")
        channel = Channel(target, codec=RawCodec())
        assert repr(channel) == f"<Channel '{target}' <Subchannel {target} idle, 0 streams, 0 waiting>>"
        async with channel:
            call = EchoStub(channel).chat()
            async with call:
                await call.send_request()
                assert repr(channel) == f"<Channel '{target}' <Subchannel {target} ready, 1 streams, 0 waiting>>"
                [connection] = connections_of(channel)
                assert repr(connection) == f"<Connection client {target} open, 1 streams>"
                assert repr(call._attempt.stream) == "<net.Stream 1 open, 0 messages waiting>"
                await until(lambda: connections_of(server))
                [theirs] = connections_of(server)
                assert re.fullmatch(r"<Connection server 127\.0\.0\.1:\d+ open, \d streams>", repr(theirs))
                await call.end()
        assert repr(channel.subchannel) == f"<Subchannel {target} shutdown, 0 streams, 0 waiting>"
        assert repr(connection) == f"<Connection client {target} closed, 0 streams>"


async def test_a_server():
    """Its life, its addresses and its connections."""
    server = Server([Echo()], codec=RawCodec())
    assert repr(server) == "<Server new on no address, 0 connections, None>"
    async with server:
        [target] = await server.listen("127.0.0.1:0")
        assert repr(server) == f"<Server open on {target}, 0 connections, <Workers 0 busy, 0 idle>>"
        server._draining = True
        assert repr(server).startswith("<Server draining on")
    assert repr(server) == f"<Server closed on {target}, 0 connections, <Workers 0 busy, 0 idle>>"


async def test_a_call():
    """Path, stage and the number of messages, on both sides."""
    service = Remembering()
    async with in_memory(service) as (_, _, stub):
        call = stub.chat()
        assert repr(call) == "<ClientStream /test.Echo/Chat new, 0 sent, 0 received>"
        async with call:
            await call.send_message(b"x")
            assert repr(call) == "<ClientStream /test.Echo/Chat open, 1 sent, 0 received>"
            await call.recv_message()
            assert await call.recv_message() is None
        assert repr(call) == "<ClientStream /test.Echo/Chat over, 1 sent, 1 received>"
        replies = stub.count(b"1")
        assert repr(replies) == "<ResponseStream of <ClientStream /test.Echo/Count new, 0 sent, 0 received>>"
    assert service.texts == [
        "<ServerStream /test.Echo/Chat open, 0 received, 0 sent>",
        "<ServerStream /test.Echo/Chat open, 1 received, 1 sent>",
    ]
