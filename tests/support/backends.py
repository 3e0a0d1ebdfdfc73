"""Several servers in memory behind one channel: calls go to them in turn, over lines that take their time."""

from contextlib import AsyncExitStack, asynccontextmanager
from math import inf

import anyio

from echo import EchoStub, RawCodec
from memory import memory_pair
from orbit_net.client import Channel, RoundRobin
from orbit_net.server import Server

__all__ = ["backends", "slow_line"]


def slow_line(tasks, latency):
    """Return the two ends of a connection on which every byte takes ``latency()`` seconds, in order."""
    ours, near = memory_pair(inf)
    far, theirs = memory_pair(inf)

    async def read(source, send):
        async with send:
            try:
                while True:
                    data = await source.receive()
                    send.send_nowait((anyio.current_time() + latency(), data))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def write(receive, target):
        async with receive:
            async for due, data in receive:
                await anyio.sleep_until(due)
                try:
                    await target.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
        await target.send_eof()

    async def relay():
        try:
            async with anyio.create_task_group() as ways:
                for source, target in ((near, far), (far, near)):
                    send, receive = anyio.create_memory_object_stream(inf)
                    ways.start_soon(read, source, send)
                    ways.start_soon(write, receive, target)
        finally:
            with anyio.CancelScope(shield=True):
                await near.aclose()
                await far.aclose()

    tasks.start_soon(relay)
    return ours, theirs


@asynccontextmanager
async def backends(*services, latency=None, **options):
    """Give ``(channel, stub)`` to one server for each of ``services``, which take the calls in turn."""
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Server([service], codec=RawCodec())) for service in services]

        async def dial(address):
            server = servers[int(address.host)]
            ours, theirs = memory_pair() if latency is None else slow_line(tasks, latency)
            tasks.start_soon(server.serve_stream, theirs)
            return ours

        target = "static:" + ",".join(f"{number}:1" for number in range(len(services)))
        async with Channel(target, codec=RawCodec(), dial=dial, balancing=RoundRobin(), **options) as channel:
            yield channel, EchoStub(channel)
        await stack.aclose()
        tasks.cancel_scope.cancel()
