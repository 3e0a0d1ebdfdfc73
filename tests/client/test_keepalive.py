"""Keepalive, idleness and the options of sockets, from the settings of channels and servers to the wire."""

import socket

import anyio
import pytest
from anyio.abc import SocketAttribute
from hyperframe.frame import GoAwayFrame, PingFrame

from echo import Echo, EchoStub, RawCodec, running
from memory import in_memory
from orbit_net.client import Channel, ChannelSettings, Connectivity, KeepaliveSettings
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import LifeSettings, Server, ServerKeepaliveSettings, ServerSettings
from orbit_net.status import Status
from rawpeer import message, raw_client, request_headers, scripted
from settle import assert_no_leaks, connections_of, until

pytestmark = pytest.mark.anyio


def test_the_defaults():
    """Channels are idle after 300 s, ask nobody, and keep the windows they announced."""
    settings = ChannelSettings()
    assert settings.idle_timeout == 300.0
    assert settings.keepalive == KeepaliveSettings()
    assert settings.adaptive_window is False
    assert ServerSettings().keepalive == ServerKeepaliveSettings()
    assert ServerSettings().life == LifeSettings()
    upkeep = settings.upkeep()
    assert upkeep.life.max_idle == 300.0
    assert upkeep.patience.stall == upkeep.patience.handshake == float("inf")


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_the_idle_timeout_is_positive(value):
    """None is never."""
    with pytest.raises(ConfigurationError, match=f"idle_timeout is {value}"):
        ChannelSettings(idle_timeout=value)
    assert ChannelSettings(idle_timeout=None).upkeep().life.max_idle is None


async def test_an_idle_channel_closes_its_connection_and_comes_back():
    """READY → IDLE without an error; the next call makes a new connection."""
    async with in_memory(channel_settings=ChannelSettings(idle_timeout=0.05)) as (server, channel, stub):
        for connects in (1, 2, 3):
            assert await stub.unary(b"x") == b"x"
            assert channel.subchannel._connector.connects == connects
            await until(lambda: channel.state is Connectivity.IDLE)
            await until(lambda: not connections_of(channel) and not connections_of(server))
        await assert_no_leaks(server, channel)


async def test_calls_that_begin_while_the_connection_goes_idle():
    """Whenever a call begins, it succeeds."""
    async with in_memory(channel_settings=ChannelSettings(idle_timeout=0.05)) as (_, channel, stub):
        for number in range(36):
            assert await stub.unary(b"%d" % number) == b"%d" % number
            await anyio.sleep(number % 12 / 200)
        assert channel.subchannel._connector.connects > 1


@pytest.mark.parametrize("age", [{"max_idle": 0.05}, {"max_age": 0.05}])
async def test_calls_that_begin_while_the_server_lets_go(age):
    """Neither idleness nor age of a server's connections loses a call."""
    settings = ServerSettings(life=LifeSettings(**age))
    async with in_memory(settings=settings) as (_, channel, stub):
        for number in range(36):
            assert await stub.unary(b"%d" % number) == b"%d" % number
            await anyio.sleep(number % 12 / 200)
        assert channel.subchannel._connector.connects > 1


async def test_too_many_pings_makes_the_channel_slower():
    """GOAWAY(ENHANCE_YOUR_CALM, too_many_pings) doubles the time between pings for all later connections (gRFC A8)."""
    complaints = [(11, b"too_many_pings"), (11, b"too_many_pings"), (11, b"too many calls"), (0, b"too_many_pings")]

    async def script(peer):
        await peer.accept()
        stream_id, _, _ = await peer.request()
        await peer.respond(stream_id, b"x")
        if complaints:
            code, debug = complaints.pop(0)
            await peer.send(peer.goaway(stream_id, code, debug))
        await peer.until_closed()

    settings = ChannelSettings(keepalive=KeepaliveSettings(time=30))
    async with scripted(script, settings=settings) as (channel, stub):
        intervals = []
        for _ in range(5):
            await stub.unary(b"x")
            [connection] = connections_of(channel)
            intervals.append(connection._upkeep._keepalive.interval)
            await until(lambda: channel.state is Connectivity.IDLE or not complaints)
            await until(lambda: len(connections_of(channel)) <= 1)
            if channel.state is Connectivity.IDLE:
                await until(lambda: not connections_of(channel))
        assert intervals == [30.0, 60.0, 120.0, 120.0, 120.0]


async def test_our_server_tells_our_client(monkeypatch):
    """A client that pings too often is told so, goes on on a new connection, and pings half as often."""
    monkeypatch.setattr("orbit_net.wire.keepalive.LEAST_TIME", 0.02)
    pinging = ChannelSettings(keepalive=KeepaliveSettings(time=0.02, permit_without_calls=True))
    async with in_memory(channel_settings=pinging) as (_, channel, stub):
        assert await stub.unary(b"x") == b"x"
        await until(lambda: channel.subchannel._slower == 2)
        assert await stub.unary(b"x") == b"x"


async def test_a_dead_server(monkeypatch):
    """The call ends with UNAVAILABLE and says keepalive."""
    monkeypatch.setattr("orbit_net.wire.keepalive.LEAST_TIME", 0.02)

    async def script(peer):
        await peer.accept()
        await peer.request()
        await anyio.sleep_forever()

    settings = ChannelSettings(keepalive=KeepaliveSettings(time=0.02, timeout=0.05))
    async with scripted(script, settings=settings) as (_, stub):
        with pytest.raises(RpcError, match=r"keepalive: the peer did not answer a ping within 0\.05 s") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE


# --- strikes, from the wire ------------------------------------------------------------------------


async def test_a_server_strikes():
    """Three pings without a word between them are borne, the fourth ends the connection."""
    async with raw_client() as (_, peer):
        await peer.send(*[PingFrame(0, b"%08d" % number) for number in range(4)])
        goaway = await peer.read(GoAwayFrame)
        assert (goaway.error_code, goaway.additional_data) == (11, b"too_many_pings")
        frames = await peer.until_closed()
        assert not [frame for frame in frames if isinstance(frame, GoAwayFrame)]


async def test_bandwidth_probes_are_no_strikes():
    """A client that pings after each message that it gets, as bandwidth estimators do, is served on."""
    async with raw_client() as (_, peer):
        await peer.send(peer.headers(1, request_headers("/test.Echo/Chat")))
        for number in range(200):
            await peer.send(peer.data(1, message(b"x")))
            await peer.read()
            await peer.send(PingFrame(0, b"%08d" % number))
        await peer.send(peer.data(1, end=True))
        _, _, trailers = await peer.response(1)
        assert trailers == {"grpc-status": "0"}


async def test_the_adaptive_window_of_both_ends():
    """Our probes are welcome at our own server and client, with the strictest of strikes."""
    strict = ServerKeepaliveSettings(min_ping_interval=7_200)
    settings = ServerSettings(adaptive_window=True, keepalive=strict)
    async with running(settings=settings, channel_settings=ChannelSettings(adaptive_window=True)) as (
        server,
        channel,
        stub,
    ):
        payload = bytes(1_000_000)
        async with stub.chat() as stream:
            for _ in range(50):
                await stream.send_message(payload)
                assert len(await stream.recv_message()) == len(payload)
            await stream.end()
        assert channel.subchannel._slower == 1
        assert channel.state is Connectivity.READY
        await assert_no_leaks(server, channel)


# --- sockets ---------------------------------------------------------------------------------------


def options(connection):
    """Return what the system is told about one connection's socket: TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE."""
    raw = connection._transport.extra(SocketAttribute.raw_socket)
    return (
        bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
        bool(raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
        raw.getsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 4)),
    )


@pytest.mark.parametrize(("seconds", "on"), [(60.0, True), (17.0, True), (0.2, True), (None, False)])
async def test_tcp_keepalive(seconds, on):
    """Both ends ask the system to look after a silent line; 60 s by default, a second at least."""
    assert KeepaliveSettings().tcp_time == ServerKeepaliveSettings().tcp_time == 60.0
    settings = ServerSettings(keepalive=ServerKeepaliveSettings(tcp_time=seconds))
    channel_settings = ChannelSettings(keepalive=KeepaliveSettings(tcp_time=seconds))
    async with running(settings=settings, channel_settings=channel_settings) as (server, channel, stub):
        await stub.unary(b"x")
        for owner in (server, channel):
            [connection] = connections_of(owner)
            no_delay, keepalive, idle = options(connection)
            assert (no_delay, keepalive) == (True, on)
            if on:
                assert idle == max(1, seconds)


async def test_unix_sockets_have_no_such_options(tmp_path):
    """And need none."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen(f"unix:{tmp_path}/socket")
        async with Channel(target, codec=RawCodec()) as channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
