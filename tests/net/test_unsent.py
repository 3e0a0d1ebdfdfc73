"""Streams whose headers never left us are told apart from those that the peer may have seen."""

import anyio
import pytest

from memory import memory_pair
from orbit_net.net import Connection
from orbit_net.wire import HeaderTemplate
from rawpeer import RawPeer
from settle import until

pytestmark = pytest.mark.anyio

TEMPLATE = HeaderTemplate([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b"), (b":authority", b"x")])


class Stuck:
    """A byte stream whose writes can be held back; ``begun`` writes were asked for."""

    def __init__(self, stream):
        self.stream = stream
        self.gate = anyio.Event()
        self.gate.set()
        self.begun = 0

    async def send(self, data):
        self.begun += 1
        await self.gate.wait()
        await self.stream.send(data)

    def __getattr__(self, name):
        return getattr(self.stream, name)


async def test_a_lost_connection():
    """What waited behind a write that had begun never left; what was in that write may have."""
    ours, theirs = memory_pair()
    transport = Stuck(ours)
    connection = Connection(transport, client=True)
    peer = RawPeer(theirs)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await peer.accept()
            await until(lambda: connection.ready)
            transport.gate = anyio.Event()
            begun = transport.begun
            first = connection.open_stream(TEMPLATE)
            await until(lambda: transport.begun > begun)
            second = connection.open_stream(TEMPLATE)
            await theirs.aclose()
            await until(lambda: first.failure and second.failure)
            transport.gate.set()
            await connection.wait_closed()
    assert (first.failure.unprocessed, first.failure.unsent) == (False, False)
    assert (second.failure.unprocessed, second.failure.unsent) == (True, True)


async def test_nothing_follows():
    """What is reported as unsent is not sent afterwards either."""
    ours, theirs = memory_pair()
    transport = Stuck(ours)
    connection = Connection(transport, client=True)
    peer = RawPeer(theirs)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await peer.accept()
            await until(lambda: connection.ready)
            transport.gate = anyio.Event()
            begun = transport.begun
            connection.open_stream(TEMPLATE)
            await until(lambda: transport.begun > begun)
            unsent = connection.open_stream(TEMPLATE)
            await theirs.send_eof()
            await until(lambda: unsent.failure)
            transport.gate.set()
            frames = await peer.until_closed()
            await theirs.aclose()
    assert unsent.failure.unsent
    assert unsent.id not in [frame.stream_id for frame in frames]
