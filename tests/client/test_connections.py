"""Making connections: lazily and once, with backoff, and what is said when it does not work."""

import logging
import socket
from random import Random

import anyio
import pytest
from anyio.abc import SocketAttribute
from grpclib.const import Cardinality
from hyperframe.frame import HeadersFrame

from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, Connectivity
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import Server
from orbit_net.status import Status
from rawpeer import scripted
from settle import assert_no_leaks, connections_of, turns, until

pytestmark = pytest.mark.anyio

UNARY = ("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes)
QUICK = ChannelSettings(backoff=BackoffPolicy(initial=0.02, jitter=0, maximum=0.05))


async def test_nothing_is_connected_before_the_first_call():
    """Entering a channel opens nothing; the first call does; leaving it closes."""
    async with in_memory() as (_, channel, stub):
        network = channel.subchannel._connector
        await turns(10)
        assert (network.connects, channel.state) == (0, Connectivity.IDLE)
        await stub.unary(b"x")
        assert (network.connects, channel.state) == (1, Connectivity.READY)
    assert channel.state is Connectivity.SHUTDOWN
    assert not connections_of(channel)


async def test_fifty_first_calls_make_one_connection():
    """Calls that come while connecting wait for the same connection."""
    async with in_memory() as (server, channel, stub):
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(stub.unary, b"%d" % number)
            await until(lambda: channel.state is Connectivity.CONNECTING)
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(server, channel)


async def test_calls_wait_for_a_stream_in_order():
    """Beyond MAX_CONCURRENT_STREAMS calls wait first come, first served; a cancelled one leaves the row."""
    gate, order, most = anyio.Event(), [], []

    async def script(peer):
        await peer.accept(MAX_CONCURRENT_STREAMS=2)
        while True:
            for _ in range(2):
                frame = await peer.read(HeadersFrame)
                order.append((int(dict(frame.fields)["x-number"]), frame.stream_id))
            await gate.wait()
            most.append(connections_of(channel)[0].wire.open_streams)
            for _, stream_id in order[-2:]:
                await peer.respond(stream_id, b"x")

    async with scripted(script) as (channel, stub):
        scopes = {}
        async with anyio.create_task_group() as tasks:

            async def call(number):
                with anyio.CancelScope() as scopes[number]:
                    assert await stub.unary(b"x", metadata={"x-number": str(number)}) == b"x"

            for number in range(11):
                tasks.start_soon(call, number)
                await until(lambda number=number: number in scopes)
            await until(lambda: len(order) == 2)
            await until(lambda: len(channel.subchannel._waiting) == 9)
            scopes[5].cancel()
            await until(lambda: len(channel.subchannel._waiting) == 8)
            gate.set()
        assert [number for number, _ in order] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert [stream_id for _, stream_id in order] == list(range(1, 21, 2))
        assert max(most) == 2
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(channel)


async def test_reconnecting_after_a_loss():
    """The channel is IDLE after its connection broke, and the next call makes a new one."""
    async with in_memory() as (_, channel, stub):
        network = channel.subchannel._connector
        for number in range(1, 4):
            assert await stub.unary(b"x") == b"x"
            assert network.connects == number
            await network.links[-1].aclose()
            await until(lambda: channel.state is Connectivity.IDLE)


async def test_backoff_between_attempts(caplog):
    """Failed attempts follow the formula, counted from their start, with the channel's random source."""
    times, delays = [], []

    async def connector():
        times.append(anyio.current_time())
        raise OSError("nobody home")

    class Noting(Random):
        def uniform(self, low, high):
            delays.append((low, high))
            return high

    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.02, multiplier=1.5, jitter=0.2, maximum=0.04))
    earliest = anyio.current_time()
    async with (
        Channel("memory:1", connector=connector, settings=settings, random=Noting()) as channel,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_wait_for_ready, channel)
        with caplog.at_level(logging.INFO, "orbit_net.client"):
            await until(lambda: len(times) == 5)
        tasks.cancel_scope.cancel()
    # From before the first start: an attempt may reach the connector late, and the next one seem early after it.
    for time, delay in zip(times[1:], [0.024, 0.036, 0.048, 0.048], strict=True):
        earliest += delay
        assert time >= earliest - 0.001
    assert delays[:4] == [(0.8, 1.2)] * 4
    assert "next attempt in" in caplog.text


async def _wait_for_ready(channel):
    async with channel.request(*UNARY, wait_for_ready=True) as call:
        await call.send_message(b"x")
        return await call.recv_message()


async def test_failing_fast():
    """In TRANSIENT_FAILURE a call fails at once with the last reason; one that waits for ready is served later."""
    away = [True]

    async with in_memory(channel_settings=QUICK) as (server, channel, stub):
        network = channel.subchannel._connector
        attempts = []

        async def connector():
            attempts.append(anyio.current_time())
            if away[0]:
                raise OSError("nobody home")
            return await network()

        channel.subchannel._connector = connector
        async with anyio.create_task_group() as tasks:
            replies = []

            async def patient():
                replies.append(await _wait_for_ready(channel))

            tasks.start_soon(patient)
            for _ in range(3):
                with pytest.raises(RpcError, match="nobody home") as raised:
                    await stub.unary(b"x")
                assert raised.value.status is Status.UNAVAILABLE
            await until(lambda: channel.state is Connectivity.TRANSIENT_FAILURE)
            before = len(attempts)
            with pytest.raises(RpcError):
                await stub.unary(b"x")
            assert len(attempts) == before
            with pytest.raises(RpcError, match=r"Deadline exceeded; there was no connection: .*nobody home") as raised:
                await stub.having(wait_for_ready=True, timeout=0.05).unary(b"x")
            assert raised.value.status is Status.DEADLINE_EXCEEDED
            away[0] = False
        assert replies == [b"x"]
        assert channel.state is Connectivity.READY
        assert channel.subchannel._failures == 0
        await assert_no_leaks(server, channel)


async def test_idle_after_the_backoff():
    """When nobody waits, the channel does not go on trying; the next call tries again."""
    attempts = []

    async def connector():
        attempts.append(1)
        raise OSError("nobody home")

    async with Channel("memory:1", connector=connector, settings=QUICK) as channel:
        for number in (1, 2):
            with pytest.raises(RpcError):
                await EchoStub(channel).unary(b"x")
            assert channel.state is Connectivity.TRANSIENT_FAILURE
            await until(lambda: channel.state is Connectivity.IDLE)
            assert len(attempts) == number


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP/1, not HTTP/2: it answered 'HTTP/1.1 400 Bad Request'"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS on this port"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP/2: its first bytes are b'SSH-2.0-OpenSSH_"),
        (b"220", "does not speak HTTP/2: its first bytes are b'220'"),
        (b"", "closed by the peer"),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\0", "setting: Setting 5 has invalid value 0"),
    ],
)
async def test_servers_that_speak_something_else(answer, text):
    """UNAVAILABLE, with what the server does speak in the text, and what it was connected to."""

    async def script(peer):
        await peer.stream.receive()
        if answer:
            await peer.send(answer)

    async with scripted(script) as (channel, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        assert "memory:1" in raised.value.message
        assert text in raised.value.message
        assert channel.state is Connectivity.TRANSIENT_FAILURE


async def test_a_server_that_says_goodbye_first():
    """A GOAWAY as the first thing after SETTINGS is a failed attempt, with the server's reason."""

    async def script(peer):
        await peer.send(peer.settings(), peer.goaway(0, 11, b"calm down"))
        await peer.until_closed()

    async with scripted(script) as (_, stub):
        with pytest.raises(RpcError, match="ENHANCE_YOUR_CALM: calm down") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE


async def test_http1_over_a_real_socket():
    """The same over TCP, where closing may come as a reset."""

    async def serve(stream):
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)
        async with Channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(RpcError, match="speaks HTTP/1"):
                await EchoStub(channel).unary(b"x")
        tasks.cancel_scope.cancel()


async def test_a_connector_that_raises_anything():
    """Whatever a connector raises is the text of an UNAVAILABLE and its cause's reason."""

    async def connector():
        raise KeyError("no such node")

    async with Channel("memory:1", connector=connector) as channel:
        with pytest.raises(RpcError, match=r"cannot connect to memory:1: KeyError\('no such node'\)"):
            await EchoStub(channel).unary(b"x")


async def test_a_connector_that_leaks_a_cancellation(anyio_backend):
    """On asyncio a connector may await something that was cancelled: UNAVAILABLE, and the channel goes on."""
    if anyio_backend == "trio":
        return  # nobody can make a Cancelled there

    async def connector():
        raise anyio.get_cancelled_exc_class()

    async with Channel("memory:1", connector=connector, settings=QUICK) as channel:
        for _ in range(2):
            with pytest.raises(RpcError, match="cannot connect to memory:1: CancelledError") as raised:
                await EchoStub(channel).unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE
            await until(lambda: channel.state is Connectivity.IDLE)


async def test_names_that_do_not_resolve():
    """UNAVAILABLE for a host that does not exist."""
    async with Channel("host.invalid:1") as channel:
        with pytest.raises(RpcError, match=r"cannot connect to host\.invalid:1") as raised:
            await EchoStub(channel).unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE


async def test_closing_while_connecting():
    """close() during an attempt fails what waits, stays closed, and leaves no connection."""
    gate = anyio.Event()
    async with in_memory() as (_, channel, stub):
        network = channel.subchannel._connector

        async def connector():
            await gate.wait()
            return await network()

        channel.subchannel._connector = connector
        async with anyio.create_task_group() as tasks:

            async def call():
                with pytest.raises(RpcError, match="the channel is closed"):
                    await stub.unary(b"x")

            tasks.start_soon(call)
            await until(lambda: channel.state is Connectivity.CONNECTING)
            await turns(3)
            channel.close()
        gate.set()
        await turns(50)
        assert channel.state is Connectivity.SHUTDOWN
        assert not connections_of(channel)
        with pytest.raises(RpcError, match="the channel is closed"):
            await stub.unary(b"x")
        assert channel.state is Connectivity.SHUTDOWN


async def test_using_a_channel_outside_its_block():
    """Before, after and twice: ConfigurationError that says what to do."""
    channel = Channel("127.0.0.1:1", codec=RawCodec())
    with pytest.raises(ConfigurationError, match="use it inside 'async with Channel"):
        await EchoStub(channel).unary(b"x")
    async with channel:
        with pytest.raises(ConfigurationError, match="entered once"):
            await channel.__aenter__()
    with pytest.raises(ConfigurationError, match="entered once"):
        await channel.__aenter__()
    with pytest.raises(RpcError, match="the channel is closed"):
        await EchoStub(channel).unary(b"x")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"connect_timeout": 0}, "connect_timeout is 0"),
        ({"max_send_message": -1}, "max_send_message is -1"),
        ({"max_receive_message": -1}, "max_message is -1"),
        ({"stream_window": 0}, "stream_window is 0"),
        ({"stream_window": 2**31}, "stream_window is 2147483648"),
        ({"connection_window": 10}, "connection_window is 10"),
        ({"authority": "é"}, "authority is 'é'"),
        ({"authority": ""}, "authority is ''"),
        ({"user_agent": "a\nb"}, "user_agent is"),
    ],
)
def test_bad_channel_settings(settings, named):
    """A setting that makes no sense is refused by name and value, before anything is made."""
    with pytest.raises(ConfigurationError, match=named):
        ChannelSettings(**settings)


def test_bad_targets():
    """A bad target is refused when the channel is made, without an event loop."""
    with pytest.raises(ConfigurationError, match="'nonsense'"):
        Channel("nonsense")


async def test_small_calls_are_not_delayed():
    """TCP_NODELAY is set on both ends."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target, codec=RawCodec()) as channel:
            await EchoStub(channel).unary(b"x")
            for owner in (channel, server):
                [connection] = connections_of(owner)
                raw = connection._transport.extra(SocketAttribute.raw_socket)
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_whose_ids_are_used_up():
    """After 2^30 calls the next ones go to a new connection; the last of the old one end well."""
    async with in_memory() as (server, channel, stub):
        await stub.unary(b"x")
        [connection] = connections_of(channel)
        connection.wire.next_stream_id = 2**31 - 3
        for number in range(4):
            assert await stub.unary(b"%d" % number) == b"%d" % number
        assert channel.subchannel._connector.connects == 2
        await until(lambda: connection.closed)
        await assert_no_leaks(server, channel)
