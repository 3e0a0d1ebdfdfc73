"""Byte streams in memory, and a channel and a server at their ends: no socket, so every step is a scheduling step."""

from contextlib import asynccontextmanager

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import StapledByteStream

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import Channel
from orbit_net.server import Server

HANG = 18.0
"""Seconds after which a test that hangs is cancelled, so that its stack tells where it hung."""


def memory_pair(capacity=16):
    """Return the two ends of a connection; each direction holds at most ``capacity`` writes that were not read yet."""
    first_send, second_receive = anyio.create_memory_object_stream[bytes](capacity)
    second_send, first_receive = anyio.create_memory_object_stream[bytes](capacity)
    return (
        StapledByteStream(first_send, BufferedByteReceiveStream(first_receive)),
        StapledByteStream(second_send, BufferedByteReceiveStream(second_receive)),
    )


class MemoryNetwork:
    """A connector that hands the other end of each new stream to ``accept`` in a task of its own.

    ``connects`` counts the attempts, ``links`` keeps the client's ends.
    """

    def __init__(self, tasks, accept):
        self.connects = 0
        self.links = []
        self._tasks = tasks
        self._accept = accept

    async def __call__(self):
        """Connect."""
        self.connects += 1
        ours, theirs = memory_pair()
        self.links.append(ours)
        self._tasks.start_soon(self._accept, theirs)
        return ours


@asynccontextmanager
async def in_memory(
    service=None, *, settings=None, channel_settings=None, server_interceptors=(), hang=HANG, **options
):
    """Give ``(server, channel, stub)`` over memory streams; ``channel.subchannel._connector`` is the network."""
    with anyio.fail_after(hang):
        async with (
            Server(
                [service or Echo()], codec=RawCodec(), settings=settings, interceptors=server_interceptors
            ) as server,
            anyio.create_task_group() as tasks,
        ):
            network = MemoryNetwork(tasks, server.serve_stream)
            async with Channel(
                "memory:1", codec=RawCodec(), connector=network, settings=channel_settings, **options
            ) as c:
                yield server, c, EchoStub(c)
            server.close()
