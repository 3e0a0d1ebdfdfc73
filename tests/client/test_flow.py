"""Flow control seen from the calls: back-pressure, fairness, and the limits of messages, both ways."""

import anyio
import anyio.lowlevel
import pytest

from echo import Echo
from memory import in_memory
from orbit_net.client import ChannelSettings
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import ServerSettings
from orbit_net.status import Status
from settle import assert_no_leaks, connections_of, turns, until

pytestmark = pytest.mark.anyio

PIECE = b"x" * 10_000
SMALL = {"stream_window": 65_536, "connection_window": 131_072}
HIGH_WATER = 65_536


class Paused(Echo):
    """Handlers that read, and send, only when ``go`` is set."""

    def __init__(self):
        self.go = anyio.Event()
        self.sent = 0

    async def sum(self, requests):
        await self.go.wait()
        total = 0
        async for request in requests:
            total += len(request)
        return b"%d" % total

    async def count(self, request):
        for _ in range(int(request)):
            yield PIECE
            self.sent += 1


async def test_a_server_that_does_not_read():
    """The client's sender stops at the window and the high-water mark, and goes on when the server reads."""
    service = Paused()
    sent = []
    async with in_memory(service, settings=ServerSettings(**SMALL)) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:

            async def requests():
                for number in range(100):
                    sent.append(number)
                    yield PIECE

            async def call():
                assert await stub.sum(requests()) == b"1000000"

            tasks.start_soon(call)
            await until(lambda: len(sent) > 5)
            await turns(500)
            bound = (SMALL["stream_window"] + HIGH_WATER) // len(PIECE) + 2
            assert 10 <= len(sent) <= bound
            [connection] = connections_of(channel)
            assert connection.wire.outbox.data_size <= HIGH_WATER + len(PIECE) + 5
            service.go.set()
        assert len(sent) == 100
        await assert_no_leaks(server, channel)


async def test_a_client_that_does_not_read():
    """The handler stops at the window and the high-water mark, and goes on when the client reads."""
    service = Paused()
    settings = ChannelSettings(**SMALL)
    async with in_memory(service, channel_settings=settings) as (server, channel, stub):
        async with stub.count(b"100") as replies:
            await until(lambda: service.sent > 5)
            await turns(500)
            bound = (SMALL["stream_window"] + HIGH_WATER) // len(PIECE) + 2
            assert 10 <= service.sent <= bound
            [connection] = connections_of(server)
            assert connection.wire.outbox.data_size <= HIGH_WATER + len(PIECE) + 5
            assert [message async for message in replies] == [PIECE] * 100
        await assert_no_leaks(server, channel)


async def test_unread_calls_do_not_stop_the_others():
    """Calls whose replies nobody reads, enough to fill the connection's window, leave a call that is read going."""
    service = Paused()
    async with in_memory(service, channel_settings=ChannelSettings(**SMALL)) as (server, channel, stub):
        unread = [stub.count(b"100") for _ in range(8)]
        for replies in unread:
            await replies.__aenter__()
        await until(lambda: service.sent > 20)
        await turns(200)
        for _ in range(3):
            assert await stub.unary(b"x" * 100_000) == b"x" * 100_000
        for replies in unread:
            await replies.aclose()
        await assert_no_leaks(server, channel)


async def test_unread_requests_do_not_stop_the_others():
    """The same towards the server."""
    service = Paused()
    async with in_memory(service, settings=ServerSettings(**SMALL)) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(stub.sum, [PIECE] * 30)
            [connection] = await _connected(channel)
            await until(lambda: connection.wire.outbox.window < 1_000)
            await turns(200)
            for _ in range(3):
                assert await stub.unary(b"x" * 100_000) == b"x" * 100_000
            service.go.set()
        await assert_no_leaks(server, channel)


async def _connected(channel):
    await until(lambda: connections_of(channel))
    return connections_of(channel)


async def test_a_small_call_beside_a_large_one():
    """A small call does not wait for the end of a large message on another stream."""
    done = []
    size = 4 * 2**20 - 5
    async with in_memory() as (server, channel, stub):
        await stub.unary(b"warm")
        async with anyio.create_task_group() as tasks:

            async def large():
                assert len(await stub.unary(b"x" * size)) == size
                done.append("large")

            async def small():
                assert await stub.unary(b"small") == b"small"
                done.append("small")

            tasks.start_soon(large)
            [connection] = connections_of(channel)
            await until(lambda: connection.wire.outbox.data_size > 2**20)
            tasks.start_soon(small)
        assert done == ["small", "large"]
        await assert_no_leaks(server, channel)


async def test_two_streams_share_the_connection():
    """Two endless streams get turns: neither is more than a few windows ahead."""
    service = Paused()
    counts = [0, 0]
    async with in_memory(service, channel_settings=ChannelSettings(**SMALL)) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:

            async def read(index):
                async with stub.count(b"1000000") as replies:
                    async for _ in replies:
                        counts[index] += 1
                        if sum(counts) >= 200:
                            tasks.cancel_scope.cancel()

            tasks.start_soon(read, 0)
            tasks.start_soon(read, 1)
        assert min(counts) >= 60
        await assert_no_leaks(server, channel)


async def test_sixteen_mebibytes():
    """With raised limits a message of 16 MiB goes there and back, many times larger than the windows."""
    size = 16 * 2**20
    raised = {"max_receive_message": size}
    data = bytes(range(256)) * (size // 256)
    async with in_memory(settings=ServerSettings(**raised), channel_settings=ChannelSettings(**raised)) as (
        server,
        channel,
        stub,
    ):
        assert await stub.unary(data) == data
        await assert_no_leaks(server, channel)


async def test_the_servers_limit():
    """A request above the server's limit is RESOURCE_EXHAUSTED, naming both sizes; one at the limit is served."""
    async with in_memory(settings=ServerSettings(max_receive_message=1_000)) as (server, channel, stub):
        with pytest.raises(RpcError, match="a message of 1001 bytes is larger than the limit of 1000") as raised:
            await stub.unary(b"x" * 1_001)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"x" * 1_000) == b"x" * 1_000
        await assert_no_leaks(server, channel)


async def test_the_channels_limit():
    """A reply above the channel's limit is RESOURCE_EXHAUSTED, and the handler is told."""
    async with in_memory(channel_settings=ChannelSettings(max_receive_message=1_000)) as (server, channel, stub):
        with pytest.raises(RpcError, match="a message of 1001 bytes is larger than the limit of 1000") as raised:
            await stub.unary(b"x" * 1_001)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        async with stub.chat() as call:
            await call.send_message(b"x" * 1_000)
            assert await call.recv_message() == b"x" * 1_000
            await call.send_message(b"x" * 1_001)
            with pytest.raises(RpcError) as raised:
                await call.recv_message()
            assert raised.value.status is Status.RESOURCE_EXHAUSTED
        await assert_no_leaks(server, channel)


async def test_the_limits_for_sending():
    """max_send_message refuses on the sending side: a request is not sent, a reply becomes RESOURCE_EXHAUSTED."""
    async with in_memory(channel_settings=ChannelSettings(max_send_message=10)) as (server, channel, stub):
        with pytest.raises(RpcError, match="the message of 11 bytes is larger than the limit of 10") as raised:
            await stub.unary(b"x" * 11)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"x" * 10) == b"x" * 10
        await assert_no_leaks(server, channel)
    async with in_memory(settings=ServerSettings(max_send_message=10)) as (server, channel, stub):
        with pytest.raises(RpcError, match="the reply of 11 bytes is larger than the limit of 10") as raised:
            await stub.unary(b"x" * 11)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        await assert_no_leaks(server, channel)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_send_message": -1}, "max_send_message is -1"),
        ({"max_receive_message": -1}, "max_message is -1"),
        ({"max_concurrent_streams": 0}, "max_concurrent_streams is 0"),
        ({"max_header_list": 10}, "max_header_list is 10"),
        ({"backlog": 0}, "backlog is 0"),
        ({"stream_window": 0}, "stream_window is 0"),
    ],
)
def test_bad_server_settings(settings, named):
    """A setting that makes no sense is refused by name and value."""
    with pytest.raises(ConfigurationError, match=named):
        ServerSettings(**settings)


async def test_a_loop_over_buffered_messages_gives_others_a_turn():
    """Reading a thousand messages that are there already lets another task run every 64."""

    class Many(Echo):
        async def count(self, request):
            for _ in range(1_000):
                yield b""

    async with in_memory(Many()) as (_, _, stub):
        ticks, longest, run = 0, 0, 0
        async with anyio.create_task_group() as tasks:

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await anyio.lowlevel.checkpoint()

            async with stub.count(b"") as replies:
                await until(lambda: len(replies._call._attempt.stream.inbox) == 1_000)
                tasks.start_soon(tick)
                before = ticks
                async for _ in replies:
                    run = run + 1 if ticks == before else 1
                    before = ticks
                    longest = max(longest, run)
            tasks.cancel_scope.cancel()
        assert longest <= 2 * 64
        assert ticks >= 10
