"""What the replies of one connection may hold before their handlers wait (CVE-2019-9517)."""

import anyio
import pytest
from hyperframe.frame import RstStreamFrame

from echo import Echo
from memory import in_memory
from orbit_net.server import PatienceSettings, ServerSettings
from orbit_net.wire import WireSettings
from rawpeer import raw_client, request_headers
from settle import assert_no_leaks, connections_of, turns, until

pytestmark = pytest.mark.anyio

BIG = bytes(1_048_576)


class Generous(Echo):
    """Answers with a mebibyte, always the same object; ``count`` with small messages without end."""

    def __init__(self):
        self.begun = 0

    async def unary(self, request):
        self.begun += 1
        return BIG if request == b"big" else request

    async def count(self, request):
        self.begun += 1
        while True:
            yield bytes(1_000)


def test_the_default():
    """64 KiB a stream, 4 MiB a connection."""
    settings = WireSettings()
    assert (settings.send_high_water, settings.connection_high_water) == (65_536, 4_194_304)


async def ask(peer, path, body, count):
    """Send ``count`` requests."""
    for number in range(count):
        stream_id = 2 * number + 1
        await peer.send(
            peer.headers(stream_id, request_headers(path)),
            peer.data(stream_id, b"\0" + len(body).to_bytes(4, "big") + body, end=True),
        )


async def test_a_hundred_large_replies_that_nobody_reads():
    """Their handlers wait with their replies; small replies pass them by, and any reply that its client asks for."""
    service = Generous()
    async with raw_client(service) as (server, peer):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
        await ask(peer, "/test.Echo/Unary", b"big", 90)
        await until(lambda: service.begun == 90)
        await turns(50)
        [connection] = connections_of(server)
        outbox = connection.wire.outbox
        assert 4 * len(BIG) <= outbox.data_size <= 4 * len(BIG) + 100

        await peer.send(peer.headers(181, request_headers()), peer.data(181, b"\0\0\0\0\1x", end=True))
        await peer.send(peer.window(181, 100))
        _, body, trailers = await peer.response(181)
        assert (body, trailers) == (b"\0\0\0\0\1x", {"grpc-status": "0"})

        for number in reversed(range(90)):
            stream_id = 2 * number + 1
            await peer.send(peer.window(stream_id, len(BIG) + 5), peer.window(0, len(BIG) + 5))
            _, body, trailers = await peer.response(stream_id)
            assert (len(body), trailers) == (len(BIG) + 5, {"grpc-status": "0"})
            assert outbox.data_size <= 5 * len(BIG)
        await assert_no_leaks(server)


async def test_streams_of_small_messages_have_little_each():
    """Hundred endless streams that nobody reads stay below 64 KiB and one message each."""
    service = Generous()
    async with raw_client(service) as (server, peer):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
        await ask(peer, "/test.Echo/Count", b"1", 100)
        await until(lambda: service.begun == 100)
        await turns(200)
        [connection] = connections_of(server)
        assert connection.wire.outbox.data_size < 5_000_000


async def test_handlers_in_the_crowd_end_with_their_calls():
    """A reset, or the end of the connection, ends those that wait for their turn."""
    service = Generous()
    async with raw_client(service) as (server, peer):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
        await ask(peer, "/test.Echo/Unary", b"big", 50)
        await until(lambda: service.begun == 50)
        await turns(50)
        await peer.send(*[peer.reset(2 * number + 1, 8) for number in range(10, 50)])
        await until(lambda: server._workers.busy <= 10)
        await peer.stream.aclose()
        await until(lambda: server._workers.busy == 0)


async def test_a_reader_that_stalls_makes_room_for_the_others():
    """What nobody reads is reset after its time, and the next replies go out."""
    service = Generous()
    settings = ServerSettings(patience=PatienceSettings(stall=0.1))
    async with raw_client(service, settings=settings) as (server, peer):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
        await ask(peer, "/test.Echo/Unary", b"big", 20)
        with anyio.fail_after(10):
            for _ in range(20):
                assert (await peer.read(RstStreamFrame)).error_code == 11
        await assert_no_leaks(server)


async def test_a_peer_that_reads_nothing_at_all():
    """However open its windows are: the connection ends when a write makes no progress."""
    service = Generous()
    settings = ServerSettings(patience=PatienceSettings(stall=0.1))
    async with raw_client(service, settings=settings) as (server, peer):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=2**31 - 1), peer.window(0, 2**31 - 1 - 65_535))
        await ask(peer, "/test.Echo/Unary", b"big", 20)
        [connection] = connections_of(server)
        await until(lambda: connection.error is not None)
        assert str(connection.error) == "the peer read nothing for 0.1 s"
        await until(lambda: server._workers.busy == 0)


async def test_our_own_client_gets_everything():
    """Sixty-four large replies at once to a client that reads."""
    async with in_memory(Generous()) as (server, channel, stub):
        sizes = []

        async def call():
            sizes.append(len(await stub.unary(b"big")))

        async with anyio.create_task_group() as tasks:
            for _ in range(64):
                tasks.start_soon(call)
        assert sizes == [len(BIG)] * 64
        await assert_no_leaks(server, channel)
