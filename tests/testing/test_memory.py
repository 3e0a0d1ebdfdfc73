"""Byte streams in memory, and networks of them."""

import anyio
import pytest

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings
from orbit_net.errors import ConnectError, RpcError
from orbit_net.server import Server
from orbit_net.status import Status
from orbit_net.testing import FaultyStream, MemoryConnector, MemoryNetwork, memory_pair
from settle import until

pytestmark = pytest.mark.anyio


async def test_a_pair_carries_bytes_both_ways():
    """What one end sends the other receives, in order, until the end."""
    ours, theirs = memory_pair()
    async with ours, theirs:
        await ours.send(b"abc")
        await ours.send(b"d")
        await theirs.send(b"x")
        assert await ours.receive() == b"x"
        assert await theirs.receive(2) == b"ab"
        await ours.send_eof()
        assert await theirs.receive() == b"c"
        assert await theirs.receive() == b"d"
        with pytest.raises(anyio.EndOfStream):
            await theirs.receive()


async def test_a_pair_is_bounded():
    """A sender waits once nobody reads its writes."""
    ours, theirs = memory_pair(capacity=2)
    async with ours, theirs:
        for _ in range(2):
            await ours.send(b"x")
        with anyio.move_on_after(0) as scope:
            await ours.send(b"x")
        assert scope.cancelled_caught


async def test_a_connector_counts():
    """Each connection has its own pair, and may be wrapped."""
    async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:
        connector = MemoryConnector(tasks, server.serve_stream, wrap=FaultyStream)
        async with Channel("memory:1", codec=RawCodec(), connector=connector) as channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
        [link] = connector.links
        assert isinstance(link, FaultyStream)
        assert repr(connector) == "<MemoryConnector 1 connects>"
        server.close()


async def test_a_network_of_servers():
    """Targets lead to their servers; a cable that is cut is laid again, a server that is down refuses."""
    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.001, maximum=0.001))
    with anyio.fail_after(18):
        async with anyio.create_task_group() as tasks, Server([Echo()], codec=RawCodec()) as server:
            network = MemoryNetwork(tasks)
            network.serve("a:1", server.serve_stream)
            with pytest.raises(ConnectError, match="nobody listens at b:1"):
                await network.connect("b:1")
            async with Channel(
                "a:1", codec=RawCodec(), connector=network.connector("a:1"), settings=settings
            ) as channel:
                stub = EchoStub(channel)
                assert await stub.unary(b"x") == b"x"
                assert repr(network) == "<MemoryNetwork 1 targets, 0 down, 1 connections>"
                assert network.connects == ["b:1", "a:1"]
                await network.cut()
                await until(lambda: not channel.subchannel.connections)
                assert await stub.unary(b"y") == b"y"
                network.down.add("a:1")
                await network.cut()
                await until(lambda: not channel.subchannel.connections)
                with pytest.raises(RpcError) as caught:
                    await stub.unary(b"z")
                assert caught.value.status is Status.UNAVAILABLE
                network.down.clear()
                assert await stub.having(wait_for_ready=True).unary(b"z") == b"z"
            await network.close()
            with pytest.raises(ConnectError):
                await network.connect("a:1")
