"""Many calls on one connection: nothing stalls, and nothing is left behind."""

from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from echo import Echo
from memory import in_memory
from orbit_net.errors import RpcError
from orbit_net.server import ServerSettings
from orbit_net.status import Status
from orbit_net.wire import FloodLimits
from settle import assert_no_leaks, connections_of, turns, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.stress]

UNREAD = 20_000
RANDOM = 10_000
IN_FLIGHT = 64


class Careless(Echo):
    """Answers without reading the request."""

    def __mapping__(self):
        mapping = super().__mapping__()
        return {path: handler._replace(func=self.answer) for path, handler in mapping.items()}

    async def answer(self, stream):
        await stream.send_message(b"done")


async def share(number, call, workers=IN_FLIGHT):
    """Make ``number`` calls, ``workers`` at a time."""
    left = iter(range(number))

    async def work():
        for index in left:
            await call(index)

    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)


async def one_connection(server, channel):
    """Return both ends of the only connection, when neither has bytes on its way to the other."""
    await assert_no_leaks(server, channel)
    [ours], [theirs] = connections_of(channel), connections_of(server)
    await until(lambda: ours.wire.outbox.window == theirs.wire.window.available)
    await until(lambda: theirs.wire.outbox.window == ours.wire.window.available)
    assert channel.subchannel._connector.connects == 1
    return ours, theirs


async def test_requests_that_nobody_reads():
    """20,000 unary calls whose handlers do not read their request, on one connection, do not stall.

    grpclib's handlers that leave a request unread leak the connection's window and stop it after some 13,000 calls.
    """
    settings = ServerSettings(stream_window=65_535, connection_window=65_535)
    async with in_memory(Careless(), settings=settings) as (server, channel, stub):

        async def call(index):
            assert await stub.unary(b"x" * 50) == b"done"

        await share(UNREAD, call)
        ours, theirs = await one_connection(server, channel)
        assert theirs.wire.highest_peer_stream_id == 2 * UNREAD - 1
        assert len(theirs.wire.streams) == len(ours.wire.streams) == 0


class Whimsical(Echo):
    """Answers at once, later, or never."""

    async def pause(self, request):
        if request[:1] == b"n":
            await anyio.sleep_forever()
        for _ in range(int(request[1:3])):
            await checkpoint()

    async def unary(self, request):
        await self.pause(request)
        return request

    async def count(self, request):
        for _ in range(3):
            yield request
            await self.pause(request)

    async def sum(self, requests):
        async for request in requests:
            await self.pause(request)
        return b"0"

    async def chat(self, stream):
        async for request in stream:
            await self.pause(request)
            await stream.send_message(request)


async def test_calls_that_are_cancelled_at_random():
    """10,000 calls of all kinds, most of them cancelled at some moment: no stream, timer, task or byte is left."""
    seed = 20_240_229
    print(f"seed {seed}")
    random = Random(seed)
    flood = FloodLimits(resets=100_000, control=1_000_000)
    settings = ServerSettings(flood=flood, stream_window=65_535, connection_window=65_535)
    counts = {"done": 0, "cancelled": 0, "refused": 0, "late": 0}
    async with in_memory(Whimsical(), settings=settings, hang=55) as (server, channel, stub):
        idle_tasks = len(anyio.get_running_tasks())

        async def make(kind, request, timeout):
            if kind == 0:
                await stub.unary(request, timeout=timeout)
            elif kind == 1:
                async with stub.count(request, timeout=timeout) as replies:
                    async for _ in replies:
                        pass
            elif kind == 2:
                await stub.sum([request] * 2, timeout=timeout)
            else:
                async with stub.chat(timeout=timeout) as call:
                    for _ in range(2):
                        await call.send_message(request)
                        await call.recv_message()
                    await call.end()

        async def call(index):
            kind = random.randrange(4)
            never = random.random() < 0.1
            request = b"%s%02d" % (b"n" if never else b"y", random.randrange(6)) + b"x" * random.randrange(2_000)
            timeout = random.choice([None, 30.0, 0.001])
            ticks = random.randrange(25) if never or random.random() < 0.7 else 1_000_000
            async with anyio.create_task_group() as tasks:

                async def run():
                    try:
                        await make(kind, request, timeout)
                    except RpcError as error:
                        counts[{Status.DEADLINE_EXCEEDED: "late", Status.UNAVAILABLE: "refused"}[error.status]] += 1
                    else:
                        counts["done"] += 1
                    tasks.cancel_scope.cancel()

                tasks.start_soon(run)
                for _ in range(ticks):
                    await checkpoint()
                counts["cancelled"] += 1
                tasks.cancel_scope.cancel()

        await share(RANDOM, call, 32)
        await until(lambda: server._workers.busy == 0)
        assert await stub.unary(b"y00") == b"y00"
        ours, _ = await one_connection(server, channel)
        assert ours.wire.window.size == ours.wire.window.available + ours.wire.window.owed - ours.wire.window.lent
        workers = len(server._workers._idle)
        await turns(10)
        assert len(anyio.get_running_tasks()) <= idle_tasks + workers + 10  # the connection's, each side
        assert len(channel.timers._heap) < 200
        assert len(server.timers._heap) < 200
    print(counts)
    assert counts["done"] > 1_000
    assert counts["cancelled"] > 3_000
    assert counts["refused"] < RANDOM / 100
