"""The limit for calls that are handled at once."""

import anyio
import pytest

from checkpoints import at_every_checkpoint
from echo import Echo
from memory import in_memory
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.interceptors import ConcurrencyLimit
from orbit_net.status import Status
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio


class Gate(Echo):
    """Answers when it is let."""

    def __init__(self):
        self.running = []
        self.most = 0
        self.go = anyio.Event()

    async def unary(self, request):
        self.running.append(request)
        self.most = max(self.most, len(self.running))
        try:
            await self.go.wait()
        finally:
            self.running.remove(request)
        return request

    async def chat(self, stream):
        async for message in stream:
            await stream.send_message(message)


@pytest.mark.parametrize("status", [Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE])
async def test_what_is_too_much_is_shed(status):
    """At once, with the status and a text; the calls that run are not disturbed, and the next ones are served."""
    limit, gate = ConcurrencyLimit(2, status=status), Gate()
    async with in_memory(gate, server_interceptors=[limit]) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"a")
            tasks.start_soon(stub.unary, b"b")
            await until(lambda: len(gate.running) == 2)
            for _ in range(3):
                with pytest.raises(RpcError, match="busy: 2 calls are being handled") as caught:
                    await stub.unary(b"c")
                assert caught.value.status is status
            assert repr(limit) == "<ConcurrencyLimit 2 of 2 active, 0 waiting, 3 shed>"
            gate.go.set()
        assert await stub.unary(b"d") == b"d"
        await assert_no_leaks(server, channel)
    assert limit.active == 0


async def test_streams_count_until_they_end():
    """A streaming call takes its place for its whole life."""
    limit = ConcurrencyLimit(1)
    async with in_memory(Gate(), server_interceptors=[limit]) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_message(b"x")
            assert await call.recv_message() == b"x"
            with pytest.raises(RpcError):
                await stub.unary(b"")
        await until(lambda: not limit.active)
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            assert [reply async for reply in call] == [b"x"]
        await assert_no_leaks(server, channel)


async def test_the_queue():
    """Some wait in the order of their arrival, the rest is shed, and never more than the limit run."""
    limit, gate = ConcurrencyLimit(1, queue=2), Gate()
    replies = []
    async with in_memory(gate, server_interceptors=[limit]) as (server, channel, stub):

        async def one(name):
            replies.append(await stub.unary(name))

        async with anyio.create_task_group() as tasks:
            for number, name in enumerate((b"a", b"b", b"c")):
                tasks.start_soon(one, name)
                await until(lambda expected=number + 1: limit.active + limit.waiting == expected)
            with pytest.raises(RpcError):
                await stub.unary(b"d")
            gate.go.set()
        await assert_no_leaks(server, channel)
    assert replies == [b"a", b"b", b"c"]
    assert gate.most == 1
    assert (limit.active, limit.waiting, limit.shed) == (0, 0, 1)


async def test_who_gives_up_leaves_the_queue():
    """A client that cancels, or whose deadline passes, takes no place."""
    limit, gate = ConcurrencyLimit(1, queue=2), Gate()
    async with in_memory(gate, server_interceptors=[limit]) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"a")
            await until(lambda: gate.running)
            with pytest.raises(RpcError):
                await stub.unary(b"late", timeout=0.05)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as others:
                    others.start_soon(stub.unary, b"gone")
                    await until(lambda: limit.waiting)
                    scope.cancel()
            await until(lambda: not limit.waiting)
            gate.go.set()
        assert await stub.unary(b"b") == b"b"
        await assert_no_leaks(server, channel)
    assert (limit.active, limit.waiting) == (0, 0)


async def test_cancellation_at_every_checkpoint():
    """Wherever a waiting call is cancelled, its place goes to the next one, the moment of its turn included."""

    async def scenario(knife):
        limit = ConcurrencyLimit(1, queue=2)
        order = []
        leave = anyio.Event()

        async def holding(call):
            await leave.wait()

        async def noting(call):
            order.append(call)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limit, "first", holding)
            await until(lambda: limit.active)

            async def waiting():
                await knife(limit, "second", noting)

            async def release():
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                leave.set()

            tasks.start_soon(waiting)
            await until(lambda: limit.waiting or knife.cut)
            tasks.start_soon(limit, "third", noting)
            tasks.start_soon(release)
        assert (limit.active, limit.waiting) == (0, 0)
        assert order == (["third"] if knife.cut else ["second", "third"])

    assert await at_every_checkpoint(scenario, least=3) >= 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"limit": 1, "queue": -1}, "queue is -1"),
        ({"limit": 1, "status": Status.ABORTED}, "RESOURCE_EXHAUSTED or UNAVAILABLE"),
    ],
)
def test_bad_settings(arguments, text):
    """Each says what is allowed."""
    with pytest.raises(ConfigurationError, match=text):
        ConcurrencyLimit(**arguments)
