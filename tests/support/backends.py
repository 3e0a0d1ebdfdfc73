"""Several servers in memory behind one channel: calls go to them in turn, over lines that take their time."""

from contextlib import asynccontextmanager
from math import inf

import anyio

from echo import EchoStub, RawCodec
from memory import MemoryConnector, memory_pair
from orbit_net.client import Channel
from orbit_net.client.subchannel import Connectivity, Subchannel
from orbit_net.server import Server

__all__ = ["Turns", "backends", "slow_line"]


class Turns:
    """Gives each call to the next of ``subchannels`` that none of its attempts was sent on; takes one's place."""

    def __init__(self, subchannels):
        self.subchannels = subchannels
        self.row = {}
        self.next = 0

    @property
    def state(self):
        return Connectivity.READY

    @property
    def _connections(self):
        return {connection for one in self.subchannels for connection in one._connections}

    @property
    def _waiting(self):
        return [call for one in self.subchannels for call in one._waiting]

    def start(self, tasks):
        for one in self.subchannels:
            one.start(tasks)

    def submit(self, call):
        for _ in self.subchannels:
            one = self.subchannels[self.next % len(self.subchannels)]
            self.next += 1
            if one._current not in getattr(call, "tried", ()):
                break
        self.row[call] = one
        one.submit(call)

    def withdraw(self, call):
        if call in self.row:
            self.row.pop(call).withdraw(call)

    def close(self):
        for one in self.subchannels:
            one.close()

    async def wait_idle(self):
        for one in self.subchannels:
            await one.wait_idle()


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
    """Give ``(channel, stub)`` to one server for each of ``services``."""
    async with anyio.create_task_group() as tasks:
        subchannels = []
        channel = Channel("memory:1", codec=RawCodec(), connector=lambda: None, **options)
        for number, service in enumerate(services):
            server = Server([service], codec=RawCodec())
            await server.__aenter__()

            async def serve(stream, server=server):
                await server.serve_stream(stream)

            network = MemoryConnector(tasks, serve)

            async def connect(serve=serve):
                ours, theirs = slow_line(tasks, latency)
                tasks.start_soon(serve, theirs)
                return ours

            subchannels.append(
                Subchannel(
                    network if latency is None else connect,
                    name=f"backend {number}",
                    settings=channel.settings,
                    random=None,
                )
            )
            service.server = server
        channel.subchannel = Turns(subchannels)
        try:
            async with channel:
                yield channel, EchoStub(channel)
        finally:
            for service in reversed(services):
                await service.server.__aexit__(None, None, None)
            tasks.cancel_scope.cancel()
