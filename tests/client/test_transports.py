"""The four kinds of call over every kind of transport."""

from contextlib import asynccontextmanager

import anyio
import pytest

from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import Channel
from orbit_net.errors import RpcError
from orbit_net.server import Server, current_call
from orbit_net.status import Status

pytestmark = pytest.mark.anyio


class Introspective(Echo):
    """Says who calls."""

    async def unary(self, request):
        return str(current_call().peer).encode() if request == b"peer?" else request


@asynccontextmanager
async def over(kind, tmp_path):
    """Give ``(server, channel, stub)`` over one kind of transport."""
    if kind == "memory":
        async with in_memory(Introspective()) as everything:
            yield everything
        return
    addresses = {
        "tcp": "127.0.0.1:0",
        "name": "localhost:0",
        "ipv6": "[::1]:0",
        "unix": f"unix:{tmp_path}/node.sock",
        "abstract": f"unix-abstract:{tmp_path}",
    }
    async with Server([Introspective()], codec=RawCodec()) as server:
        targets = await server.listen(addresses[kind])
        async with Channel(targets[-1], codec=RawCodec()) as channel:
            yield server, channel, EchoStub(channel)


@pytest.fixture(params=["tcp", "name", "ipv6", "unix", "abstract", "memory"])
async def link(request, tmp_path):
    """A channel to a server over each transport: ``(kind, server, channel, stub)``."""
    async with over(request.param, tmp_path) as (server, channel, stub):
        yield request.param, server, channel, stub


async def test_the_four_kinds(link):
    """Unary, server streaming, client streaming and full duplex give the right answers, twice."""
    _, _, _, stub = link
    for _ in range(2):
        assert await stub.unary(b"hello") == b"hello"
        assert [message async for message in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2", b"3"]) == b"6"
        async with stub.chat() as stream:
            for text in (b"one", b"", b"three"):
                await stream.send_message(text)
                assert await stream.recv_message() == text
            await stream.end()
            assert await stream.recv_message() is None


async def test_peers(link):
    """Both sides name the other end in the form of a target."""
    kind, _, channel, stub = link
    async with stub.chat() as stream:
        assert stream.peer is None
        await stream.send_request()
        seen = str(stream.peer)
        await stream.end()
    theirs = (await stub.unary(b"peer?")).decode()
    if kind in ("tcp", "name", "ipv6"):
        assert seen == channel.target
        assert theirs.rpartition(":")[0] == channel.target.rpartition(":")[0]
        assert theirs != seen
    elif kind == "unix":
        assert seen == channel.target
        assert theirs == "local"
    elif kind == "memory":
        assert (seen, theirs) == ("local", "local")


async def test_a_large_message(link):
    """A message larger than every window comes back whole."""
    *_, stub = link
    data = bytes(range(256)) * 8_192
    assert await stub.unary(data) == data


async def test_a_server_on_several_addresses(tmp_path):
    """One server listens on as many addresses as it is told to."""
    async with Server([Echo()], codec=RawCodec()) as server:
        targets = [*(await server.listen("127.0.0.1:0")), *(await server.listen(f"unix:{tmp_path}/s"))]
        for target in targets:
            async with Channel(target, codec=RawCodec()) as channel:
                assert await EchoStub(channel).unary(target.encode()) == target.encode()


async def test_a_stale_socket_file_is_replaced(tmp_path):
    """A socket left behind by a dead process does not keep the server from listening."""
    for _ in range(2):
        async with Server([Echo()], codec=RawCodec()) as server:
            [target] = await server.listen(f"unix:{tmp_path}/s")
            async with Channel(target, codec=RawCodec()) as channel:
                assert await EchoStub(channel).unary(b"x") == b"x"


async def test_nobody_listens(tmp_path):
    """UNAVAILABLE, naming the address and the system's reason."""
    for target in (f"unix:{tmp_path}/none", "127.0.0.1:1"):
        async with Channel(target, codec=RawCodec()) as channel:
            with pytest.raises(
                RpcError, match=f"cannot connect to {target}: .*(refused|failed|No such file)"
            ) as raised:
                await EchoStub(channel).unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE
            assert raised.value.retryable


async def test_no_exception_group_leaves_the_blocks():
    """What the body of a channel's or a server's block raises comes out as itself, with a call open."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as raised:
        async with over_tcp() as stub:
            await stub.chat().send_request()
            raise error
    assert raised.value is error


@asynccontextmanager
async def over_tcp():
    """Give a stub over TCP, with no task group of the test's own."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target, codec=RawCodec()) as channel:
            yield EchoStub(channel)


async def test_cancelling_the_block_cancels():
    """A block of channel and server that is cancelled from outside ends at once and passes the cancellation on."""
    with anyio.CancelScope() as scope:
        async with over_tcp() as stub, stub.chat() as stream:
            await stream.send_request()
            scope.cancel()
            await stream.recv_message()
    assert scope.cancelled_caught
