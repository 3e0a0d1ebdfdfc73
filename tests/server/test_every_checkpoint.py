"""Each public coroutine of the server is cancelled at every checkpoint that it has, and everything works on."""

import anyio
import pytest

from checkpoints import Knife, at_every_checkpoint
from echo import Echo, EchoStub, RawCodec
from memory import MemoryConnector, in_memory
from orbit_net.client import Channel
from orbit_net.errors import RpcError
from orbit_net.server import Server
from settle import assert_no_leaks, turns, until

pytestmark = [pytest.mark.anyio, pytest.mark.once]

NEVER_ENDS = 25


async def check(target):
    """Call the server at ``target``."""
    async with Channel(target, codec=RawCodec()) as channel:
        assert await EchoStub(channel).unary(b"x") == b"x"


async def for_a_while(scenario):
    """Cut what does not end by itself at each of its first steps."""
    for ticks in range(NEVER_ENDS):
        knife = Knife(ticks)
        await scenario(knife)
        assert knife.cut


async def test_listen():
    """A cancelled listen leaves a server that can listen, and no open socket."""

    async def one(knife):
        async with Server([Echo()], codec=RawCodec()) as server:
            await knife(server.listen, "127.0.0.1:0")
            [target] = await server.listen("127.0.0.1:0")
            await check(target)

    await at_every_checkpoint(one, least=0)


async def test_serve(tmp_path):
    """A cancelled serve leaves a server that can be used and closed."""

    async def one(knife):
        async with Server([Echo()], codec=RawCodec()) as server:
            await knife(server.serve, f"unix:{tmp_path}/s")
            [target] = await server.listen("127.0.0.1:0")
            await check(target)

    await for_a_while(one)


async def test_serve_that_is_started():
    """``await tasks.start(server.serve, …)`` returns the targets, and cancelling the group ends it."""
    async with Server([Echo()], codec=RawCodec()) as server:
        async with anyio.create_task_group() as tasks:
            [target] = await tasks.start(server.serve, "127.0.0.1:0")
            await check(target)
            tasks.cancel_scope.cancel()
        await check(target)


async def test_wait_closed():
    """A cancelled wait_closed can be repeated."""

    async def one(knife):
        async with Server([Echo()], codec=RawCodec()) as server:
            [target] = await server.listen("127.0.0.1:0")
            await knife(server.wait_closed)
            await check(target)
            server.close()
            await server.wait_closed()

    await for_a_while(one)


async def test_serve_stream():
    """A cancelled serve_stream closes its byte stream: its client is told, the others go on."""

    async def one(knife):
        async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:

            async def accept(stream):
                if knife.used:
                    await stream.aclose()
                else:
                    await knife(server.serve_stream, stream)

            network = MemoryConnector(tasks, accept)
            async with Channel("memory:1", codec=RawCodec(), connector=network) as channel:
                with pytest.raises(RpcError):
                    while True:
                        await EchoStub(channel).unary(b"x")
                await until(lambda: not server._connections)
                await assert_no_leaks(server)
                other = MemoryConnector(tasks, server.serve_stream)
                async with Channel("memory:2", codec=RawCodec(), connector=other) as second:
                    assert await EchoStub(second).unary(b"x") == b"x"
            tasks.cancel_scope.cancel()

    await for_a_while(one)


@pytest.mark.parametrize("busy", [False, True])
async def test_drain(busy):
    """A cancelled drain leaves the server draining: open calls may end, new connections are refused, close ends it."""

    async def one(knife):
        async with in_memory() as (server, channel, stub):
            async with stub.chat() as call:
                await call.send_message(b"x")
                await call.recv_message()
                if not busy:
                    await call.end()
                    await call.recv_message()
                await knife(server.drain, grace=30)
                if busy and knife.cut:
                    await call.send_message(b"more")
                    assert await call.recv_message() == b"more"
                    await call.end()
                    assert await call.recv_message() is None
                else:
                    call.close()
            await turns(20)
            server.close()
            await server.wait_closed()
            with pytest.raises(RpcError):
                await stub.unary(b"x")
            await assert_no_leaks(server, channel)

    if busy:
        await for_a_while(one)
    else:
        await at_every_checkpoint(one)


async def test_leaving_the_server():
    """__aexit__ with open connections and handlers: cancelled anywhere, everything has ended when it returns."""
    ended = []

    class Endless(Echo):
        async def chat(self, stream):
            await stream.send_message(b"x")
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(1)

    async def one(knife):
        arm = anyio.Event()
        ended.clear()
        async with anyio.create_task_group() as tasks:
            server = Server([Endless()], codec=RawCodec())
            network = MemoryConnector(tasks, server.serve_stream)
            async with Channel("memory:1", codec=RawCodec(), connector=network) as channel:

                async def block():
                    async with server:
                        await server.listen("127.0.0.1:0")
                        call = EchoStub(channel).chat()
                        await call.send_request()
                        await call.recv_message()
                        arm.set()

                await knife(block, arm=arm)
                assert ended == [1]
                assert server._workers.busy == 0
            tasks.cancel_scope.cancel()

    await at_every_checkpoint(one)


class Disturbed(Echo):
    """Handlers whose operations are cancelled by ``knife``."""

    def __init__(self, knife):
        self.knife = knife

    def __mapping__(self):
        mapping = super().__mapping__()
        path = "/test.Echo/Unary"
        return mapping | {path: mapping[path]._replace(func=self.disturbed)}

    async def disturbed(self, stream):
        first = await self.knife(stream.recv_message)
        if first is None:
            first = await stream.recv_message()
        await stream.send_message(first)

    async def chat(self, stream):
        if self.knife.ticks % 2:
            await stream.send_initial_metadata()
        async for message in stream:
            if message == b"receive":
                got = await self.knife(stream.recv_message)
                await stream.send_message(b"nothing" if got is None else got)
            elif message == b"send":
                await self.knife(stream.send_message, b"x" * 400_000)
                await stream.send_message(b"after")
            else:
                await stream.send_message(message)


async def disturb(scenario, least=1):
    """Run ``scenario(knife, stub)`` with a service that is cut at every checkpoint."""

    async def one(knife):
        async with in_memory(Disturbed(knife)) as (server, channel, stub):
            await scenario(knife, stub)
            assert [m async for m in stub.count(b"2")] == [b"0", b"1"]
            await assert_no_leaks(server, channel)

    return await at_every_checkpoint(one, least=least)


async def test_receiving_a_unary_request():
    """recv_message of a unary request, cut by a scope of the handler's own, can be repeated."""

    async def scenario(knife, stub):
        async with stub.chat() as other:  # so that the message does not come with the headers
            await other.send_message(b"x")
            assert await other.recv_message() == b"x"
            await other.end()
        assert await stub.unary(b"request") == b"request"

    await disturb(scenario, least=0)


async def test_receiving_a_stream():
    """No message is lost by a recv_message that a scope of the handler's own cut."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"receive")
            await turns(knife.ticks + 5)
            await call.send_message(b"late")
            await call.end()
            replies = [message async for message in call]
            assert replies in ([b"late"], [b"nothing", b"late"])
            assert (len(replies) == 2) == knife.cut

    for ticks in range(12):
        knife = Knife(ticks)
        async with in_memory(Disturbed(knife)) as (server, channel, stub):
            await scenario(knife, stub)
            assert knife.cut
            await assert_no_leaks(server, channel)


async def test_sending_to_a_client_that_reads_slowly():
    """A reply that is cut while it waits for room arrives whole, once."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"send")
            await call.end()
            assert [len(message) async for message in call] == [400_000, 5]

    await disturb(scenario)
