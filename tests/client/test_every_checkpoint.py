"""Each public coroutine of the client is cancelled at every checkpoint that it has, and everything works on."""

import anyio
import pytest

from checkpoints import at_every_checkpoint
from echo import Echo, EchoStub, RawCodec
from memory import MemoryConnector, in_memory
from orbit_net.client import Channel
from orbit_net.server import Server
from settle import assert_no_leaks, connections_of

pytestmark = [pytest.mark.anyio, pytest.mark.once]


class Talkative(Echo):
    """Sends headers and two messages before it echoes, and a trailer."""

    async def chat(self, stream):
        await stream.send_initial_metadata(metadata={"x-first": "1"})
        async for message in stream:
            await stream.send_message(message)


@pytest.fixture(params=["warm", "cold"])
def every(request):
    """Run a scenario with a fresh server and channel for each cut: connected already, or not.

    Afterwards a call on the same channel must succeed on a usable connection, and nothing may be left.
    """

    async def run(scenario, least=1):
        async def one(knife):
            async with in_memory(Talkative()) as (server, channel, stub):
                if request.param == "warm":
                    await stub.unary(b"warm")
                await scenario(knife, stub)
                assert await stub.unary(b"after") == b"after"
                await assert_no_leaks(server, channel)
                assert channel.subchannel._connector.connects == 1
                assert len(connections_of(channel)) == 1

        return await at_every_checkpoint(one, least=least)

    return run


async def finish(call, sent=0):
    """Use a call that was disturbed: another message goes there and back, and the call ends well."""
    await call.send_message(b"more")
    replies = [await call.recv_message() for _ in range(sent + 1)]
    assert replies[-1] == b"more"
    await call.end()
    assert await call.recv_message() is None


async def test_send_request(every):
    """A call whose send_request was cancelled goes on."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await knife(call.send_request)
            await finish(call)

    await every(scenario, least=0)


async def test_send_message(every):
    """A message that was cancelled is sent once or not at all, never torn, and the call goes on."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await knife(call.send_message, b"first")
            await finish(call, sent=call._sent)

    await every(scenario, least=0)


async def test_send_message_that_waits_for_room(every):
    """A message larger than all windows, cancelled while it waits for room, still arrives whole."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await knife(call.send_message, b"x" * 1_000_000)
            sent = call._sent
            await call.send_message(b"more")
            if sent:
                assert await call.recv_message() == b"x" * 1_000_000
            assert await call.recv_message() == b"more"
            await call.end()
            assert await call.recv_message() is None

    await every(scenario)


async def test_end(every):
    """end() has no checkpoint of its own; under a cancelled scope it ends the request all the same."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"x")
            await knife(call.end)
            assert await call.recv_message() == b"x"
            assert await call.recv_message() is None

    await every(scenario, least=0)


async def test_recv_initial_metadata(every):
    """Cancelled or not, the metadata is there for the next to ask."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await knife(call.recv_initial_metadata)
            await call.recv_initial_metadata()
            assert call.initial_metadata == {"x-first": "1"}
            await finish(call)

    await every(scenario)


async def test_recv_message(every):
    """No message is lost by a cancelled recv_message."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await call.send_message(b"2")
            got = await knife(call.recv_message)
            assert got in (None, b"1")
            expected = [b"1", b"2"] if got is None else [b"2"]
            assert [await call.recv_message() for _ in expected] == expected
            await finish(call)

    await every(scenario)


async def test_recv_the_end(every):
    """The end can be waited for again."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_request(end=True)
            await knife(call.recv_message)
            assert await call.recv_message() is None

    await every(scenario)


async def test_recv_trailing_metadata(every):
    """The trailers can be waited for again."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"x")
            await call.end()
            await knife(call.recv_trailing_metadata)
            await call.recv_trailing_metadata()
            assert call.trailing_metadata == {}

    await every(scenario)


async def test_a_retried_receive_with_a_sender(every):
    """A call with a sender of its own goes on when its receiving is disturbed."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            call.start_sender([b"1", b"2", b"3"])
            got = await knife(call.recv_message)
            rest = [message async for message in call]
            assert ([got] if got else []) + rest == [b"1", b"2", b"3"]

    await every(scenario)


async def test_leaving_the_block(every):
    """__aexit__, cancelled while it waits for the status, lets go of the call."""

    async def scenario(knife, stub):
        arm = anyio.Event()

        async def block():
            async with stub.chat() as call:
                await call.send_message(b"x")
                await call.end()
                arm.set()

        await knife(block, arm=arm)

    await every(scenario)


@pytest.mark.parametrize("kind", ["unary", "sum", "count", "chat"])
async def test_whole_calls(every, kind):
    """A call of a stub, cancelled anywhere, leaves a channel that works."""

    async def requests():
        yield b"1"
        yield b"2"

    async def run(stub):
        if kind == "unary":
            return await stub.unary(b"x")
        if kind == "sum":
            return await stub.sum(requests())
        if kind == "count":
            async with stub.count(b"3") as replies:
                return [message async for message in replies]
        async with stub.chat() as call:
            for number in (b"1", b"2"):
                await call.send_message(number)
                assert await call.recv_message() == number
            await call.end()
        return "done"

    async def scenario(knife, stub):
        result = await knife(run, stub)
        if not knife.cut:
            assert result == {"unary": b"x", "sum": b"3", "count": [b"0", b"1", b"2"], "chat": "done"}[kind]

    await every(scenario, least=3)


async def test_iterating_without_a_block(every):
    """One step of a response stream, cancelled, can be repeated without loss."""

    async def scenario(knife, stub):
        replies = stub.count(b"3")
        first = await knife(replies.__anext__)
        rest = [message async for message in replies]
        assert ([first] if first else []) + rest == [b"0", b"1", b"2"]

    await every(scenario)


async def test_others_that_wait_for_the_same_connection(every):
    """The first caller of a channel is cancelled while it connects; those behind it are served."""

    async def scenario(knife, stub):
        async with anyio.create_task_group() as tasks:
            replies = []

            async def other():
                replies.append(await stub.unary(b"other"))

            async def first():
                tasks.start_soon(other)
                await stub.unary(b"first")

            await knife(first)
        assert replies == [b"other"]

    await every(scenario)


async def test_leaving_the_channel():
    """__aexit__ of a channel with open calls: cancelled anywhere, no task or connection outlives it."""

    async def one(knife):
        arm = anyio.Event()
        async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:
            network = MemoryConnector(tasks, server.serve_stream)
            channel = Channel("memory:1", codec=RawCodec(), connector=network)

            async def block():
                async with channel:
                    call = EchoStub(channel).chat()
                    await call.send_message(b"x")
                    await call.recv_message()
                    arm.set()

            await knife(block, arm=arm)
            assert not connections_of(channel)
            server.close()
            await server.wait_closed()
            await assert_no_leaks(server)

    assert await at_every_checkpoint(one) >= 1
