"""Channelz tells what channels, subchannels, servers and sockets have done."""

import gc
from contextlib import AsyncExitStack

import anyio
import pytest
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from echo import Echo, EchoStub, RawCodec
from orbit_net.channelz import Channelz, ChannelzRegistry
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, ConnectionPool, Connectivity
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.proto.grpc.channelz import v1
from orbit_net.proto.grpc.channelz.v1 import ChannelConnectivityStateState as State
from orbit_net.proto.grpc.channelz.v1.services import ChannelzStub
from orbit_net.server import Server
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio


class Moody(Echo):
    """Refuses what is called bad."""

    async def unary(self, request):
        if request == b"bad":
            raise GRPCError(Status.INVALID_ARGUMENT, "bad")
        return request


class Site:
    """A server and a channel that are watched, and a stub for what is told of them."""

    def __init__(self, stack, registry, asked):
        self.stack = stack
        self.registry = registry
        self.asked = asked

    async def server(self, address="127.0.0.1:0", **options):
        """Return a watched server, and the target that reaches it."""
        server = await self.stack.enter_async_context(self.registry.add(Server([Moody()], codec=RawCodec(), **options)))
        return server, (await server.listen(address))[0]

    async def channel(self, target, **options):
        """Return a watched channel, and a stub on it."""
        channel = self.registry.add(Channel(target, codec=RawCodec(), **options))
        await self.stack.enter_async_context(channel)
        return channel, EchoStub(channel)

    async def told_channel(self):
        """Return what is told of the only channel."""
        [channel] = (await self.asked.get_top_channels(v1.GetTopChannelsRequest())).channel
        return channel

    async def told_server(self):
        """Return what is told of the only server."""
        [server] = (await self.asked.get_servers(v1.GetServersRequest())).server
        return server

    async def told_subchannel(self):
        """Return what is told of the only subchannel of the only channel."""
        [ref] = (await self.told_channel()).subchannel_ref
        request = v1.GetSubchannelRequest(subchannel_id=ref.subchannel_id)
        return (await self.asked.get_subchannel(request)).subchannel

    async def told_socket(self, ref):
        """Return what is told of a socket."""
        return (await self.asked.get_socket(v1.GetSocketRequest(socket_id=ref.socket_id))).socket


@pytest.fixture
async def watched():
    """A :class:`Site`; the service that tells of it is on a server that nobody watches."""
    registry = ChannelzRegistry()
    with anyio.fail_after(18):
        async with AsyncExitStack() as stack, Server([Channelz(registry)]) as admin:
            [target] = await admin.listen("127.0.0.1:0")
            async with Channel(target) as channel:
                yield Site(stack, registry, ChannelzStub(channel))
                await stack.aclose()


async def _mixed_calls(channel, stub):
    """Make two calls that succeed, two that fail, and one that stays open; return it."""
    for request in (b"good", b"bad", b"good"):
        try:
            await stub.unary(request)
        except RpcError:
            assert request == b"bad"
    with pytest.raises(RpcError, match="Method not found"):
        await stub._unary_unary("/test.Echo/None", b"", bytes)
    chat = stub.chat()
    await chat.__aenter__()
    await chat.send_message(b"x")
    assert await chat.recv_message() == b"x"
    return chat


def _counts(data):
    return data.calls_started, data.calls_succeeded, data.calls_failed


async def test_calls_are_counted(watched):
    """A channel, its subchannel and the server agree on the calls: two succeeded, two failed, one is open."""
    _, target = await watched.server()
    channel, stub = await watched.channel(target)
    chat = await _mixed_calls(channel, stub)
    told = [await watched.told_channel(), await watched.told_subchannel(), await watched.told_server()]
    assert [_counts(one.data) for one in told] == [(5, 2, 2)] * 3
    for one in told:
        assert one.data.last_call_started_timestamp is not None
        assert one.data.last_call_started_timestamp >= one.data.trace.creation_timestamp
    await chat.cancel()
    await chat.__aexit__(None, None, None)
    assert _counts((await watched.told_channel()).data) == (5, 2, 3)
    assert _counts((await watched.told_subchannel()).data) == (5, 2, 3)
    await until(lambda: not watched.registry.servers[0].server().connections[0].open_streams)
    assert _counts((await watched.told_server()).data) == (5, 2, 3)


async def test_counts_outlive_connections(watched):
    """What ended connections have carried stays in the sums of their subchannel and their server."""
    server, target = await watched.server()
    channel, stub = await watched.channel(target)
    for _ in range(2):
        await stub.unary(b"good")
        [connection] = channel.subchannel.connections
        connection.close()
        await until(lambda: not channel.subchannel.connections and not server.connections)
    assert _counts((await watched.told_subchannel()).data) == (2, 2, 0)
    assert (await watched.told_subchannel()).socket_ref == []
    assert _counts((await watched.told_server()).data) == (2, 2, 0)


async def test_calls_that_reach_no_server(watched):
    """A call that finds no connection has failed; the trace says why, for the channel and for the subchannel."""
    settings = ChannelSettings(backoff=BackoffPolicy(initial=60.0))
    _, stub = await watched.channel("127.0.0.1:1", settings=settings)
    with pytest.raises(RpcError):
        await stub.unary(b"")
    channel, subchannel = await watched.told_channel(), await watched.told_subchannel()
    assert (_counts(channel.data), _counts(subchannel.data)) == ((1, 0, 1), (0, 0, 0))
    assert channel.data.state.state is State.TRANSIENT_FAILURE
    assert (channel.data.target, subchannel.data.target) == ("127.0.0.1:1", "127.0.0.1:1")
    assert [event.description.partition(":")[0] for event in subchannel.data.trace.events] == [
        "connecting",
        "transient failure",
    ]
    failure = channel.data.trace.events[-1]
    assert "cannot connect to 127.0.0.1:1" in failure.description
    assert failure.severity == v1.ChannelTraceEventSeverity.CT_WARNING
    assert failure.subchannel_ref == subchannel.ref
    assert channel.data.trace.num_events_logged == 3


async def test_sockets(watched):
    """Both ends of a connection tell its addresses, streams, messages and windows, each from its side."""
    server, target = await watched.server()
    channel, stub = await watched.channel(target)
    chat = await _mixed_calls(channel, stub)
    [ref] = (await watched.told_subchannel()).socket_ref
    client = await watched.told_socket(ref)
    served = await watched.told_server()
    [ref] = (await watched.asked.get_server_sockets(v1.GetServerSocketsRequest(served.ref.server_id))).socket_ref
    service = await watched.told_socket(ref)
    for one in (client, service):
        data = one.data
        assert (data.streams_started, data.streams_succeeded, data.streams_failed) == (5, 4, 0)
        assert data.last_message_sent_timestamp is not None
        assert data.last_message_received_timestamp is not None
        assert data.received_goaway_error is None
        assert one.security is None
    assert (client.data.messages_sent, client.data.messages_received) == (5, 3)
    assert (service.data.messages_sent, service.data.messages_received) == (3, 5)
    assert client.data.peer_max_concurrent_streams == 100
    [ours], [theirs] = channel.subchannel.connections, server.connections
    assert client.data.local_flow_control_window == ours.wire.outbox.window
    assert client.data.remote_flow_control_window == ours.wire.window.available
    assert service.data.remote_flow_control_window == theirs.wire.window.available
    assert client.data.last_local_stream_created_timestamp is not None
    assert client.data.last_remote_stream_created_timestamp is None
    assert service.data.last_remote_stream_created_timestamp is not None
    assert (client.local, client.remote) == (service.remote, service.local)
    assert client.remote.tcpip_address.ip_address == b"\x7f\0\0\1"
    assert f"127.0.0.1:{client.remote.tcpip_address.port}" == target == client.ref.name
    await chat.cancel()
    await chat.__aexit__(None, None, None)
    assert (await watched.told_socket(client.ref)).data.streams_failed == 1


async def test_where_a_server_listens(watched, tmp_path):
    """Each address has a socket without an other end."""
    server, target = await watched.server()
    path = str(tmp_path / "socket")
    await server.listen(f"unix:{path}")
    told = await watched.told_server()
    assert told.ref.name == f"{target}, unix:{path}"
    tcp, unix = [await watched.told_socket(ref) for ref in told.listen_socket]
    assert (tcp.ref.name, unix.ref.name) == (target, f"unix:{path}")
    assert f"127.0.0.1:{tcp.local.tcpip_address.port}" == target
    assert unix.local.uds_address.filename == path
    assert (tcp.remote, unix.remote) == (None, None)


async def test_security(watched, site):
    """A connection over TLS tells its cipher and the certificate of the other end."""
    _, target = await watched.server(tls=site.for_mtls())
    _, stub = await watched.channel(target, tls=site.with_certificate())
    await stub.unary(b"")
    [ref] = (await watched.told_subchannel()).socket_ref
    tls = (await watched.told_socket(ref)).security.tls
    assert tls.standard_name.startswith("TLS_")
    served = await watched.told_server()
    [ref] = (await watched.asked.get_server_sockets(v1.GetServerSocketsRequest(served.ref.server_id))).socket_ref
    from cryptography.x509 import load_der_x509_certificate

    theirs = (await watched.told_socket(ref)).security.tls.remote_certificate
    assert load_der_x509_certificate(theirs).serial_number == site.client.serial
    assert load_der_x509_certificate(tls.remote_certificate).serial_number == site.server.serial


async def test_pages(watched):
    """Answers are cut as asked, by ascending ids, and say when there is no more."""
    channels = [watched.registry.add(Channel(f"host{number}:1")) for number in range(5)]
    seen, start, end = [], 0, False
    while not end:
        request = v1.GetTopChannelsRequest(start_channel_id=start, max_results=2)
        answer = await watched.asked.get_top_channels(request)
        assert len(answer.channel) <= 2
        seen += [channel.ref.name for channel in answer.channel]
        start, end = answer.channel[-1].ref.channel_id + 1, answer.end
    assert seen == [channel.target for channel in channels]
    answer = await watched.asked.get_top_channels(v1.GetTopChannelsRequest(start_channel_id=10_000))
    assert (answer.channel, answer.end) == ([], True)
    answer = await watched.asked.get_servers(v1.GetServersRequest())
    assert (answer.server, answer.end) == ([], True)
    with pytest.raises(RpcError, match="must not be negative") as caught:
        await watched.asked.get_top_channels(v1.GetTopChannelsRequest(max_results=-1))
    assert caught.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", ["channel", "subchannel", "server", "socket", "server_sockets"])
async def test_what_is_not_there(watched, kind):
    """An id that nothing has, or that is one of another kind, is NOT_FOUND."""
    _, target = await watched.server()
    await watched.channel(target)
    request = {
        "channel": v1.GetChannelRequest,
        "subchannel": v1.GetSubchannelRequest,
        "server": v1.GetServerRequest,
        "socket": v1.GetSocketRequest,
        "server_sockets": v1.GetServerSocketsRequest,
    }[kind]
    with pytest.raises(RpcError, match="there is no") as caught:
        await getattr(watched.asked, f"get_{kind}")(request(99))
    assert caught.value.status is Status.NOT_FOUND


async def test_one_by_one(watched):
    """A channel and a server are told by their ids as they are told in the lists; ids are never shared."""
    _, target = await watched.server()
    _, stub = await watched.channel(target)
    await stub.unary(b"")
    channel, server = await watched.told_channel(), await watched.told_server()
    assert (await watched.asked.get_channel(v1.GetChannelRequest(channel.ref.channel_id))).channel == channel
    assert (await watched.asked.get_server(v1.GetServerRequest(server.ref.server_id))).server == server
    [ref] = (await watched.told_subchannel()).socket_ref
    ids = [channel.ref.channel_id, channel.subchannel_ref[0].subchannel_id, server.ref.server_id, ref.socket_id]
    ids += [ref.socket_id for ref in server.listen_socket]
    assert len(set(ids)) == len(ids)
    assert repr(watched.registry) == "<ChannelzRegistry 1 channels, 1 servers>"


async def test_pools(watched):
    """The channels of a pool are told, and their calls counted from the first look on."""
    _, target = await watched.server()
    pool = watched.registry.add(ConnectionPool(codec=RawCodec()))
    await watched.stack.enter_async_context(pool)
    stub = EchoStub(await pool.get_connection(target))
    await stub.unary(b"")
    assert _counts((await watched.told_channel()).data) == (0, 0, 0)
    await stub.unary(b"")
    assert _counts((await watched.told_channel()).data) == (1, 1, 0)
    assert _counts((await watched.told_subchannel()).data) == (2, 2, 0)
    assert (await pool.get_stats()).total_requests == 2


async def test_the_trace_is_bounded():
    """The newest events are kept, and all are counted; the time is that of the clock that was given."""

    async def connector():
        raise ConnectError("not today")

    registry = ChannelzRegistry(trace=3, clock=lambda: 1000.0)
    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.001, maximum=0.001))
    channel = registry.add(Channel("host:1", codec=RawCodec(), connector=connector, settings=settings))
    async with channel:
        for _ in range(4):
            with pytest.raises(RpcError):
                await EchoStub(channel).unary(b"")
            await until(lambda: channel.state is Connectivity.IDLE)
    [entry] = registry.channels
    [(child, _)] = registry.subchannels
    assert [event.text.partition(":")[0] for event in child.trace.events] == ["transient failure", "idle", "shutdown"]
    assert {event.time for event in child.trace.events} == {1000.0}
    assert (child.trace.count, entry.trace.count) == (13, 14)
    assert repr(child.trace) == "<Trace 3 of 13 events>"


def test_channels_and_servers_are_held_weakly():
    """What nobody uses any more is gone, and added again is nothing new."""
    registry = ChannelzRegistry()
    channel, server = Channel("host:1"), Server([Moody()])
    for _ in range(2):
        assert registry.add(channel) is channel
        assert registry.add(server) is server
    assert repr(registry) == "<ChannelzRegistry 1 channels, 1 servers>"
    [entry] = [entry for entry, _ in registry.subchannels]
    assert len(entry.channels) == 1
    del channel, server
    gc.collect()
    assert repr(registry) == "<ChannelzRegistry 0 channels, 0 servers>"
    assert (entry.channels, len(registry._subchannels)) == ([], 0)


def test_who_does_not_ask_does_not_pay():
    """The calls of a channel are counted only in a registry; two registries share the count."""
    channel = Channel("host:1", codec=RawCodec())
    assert channel.tally is None
    call = channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes)
    assert call._attempt._watcher is None
    ChannelzRegistry().add(channel)
    tally = channel.tally
    ChannelzRegistry().add(channel)
    assert channel.tally is tally
    assert repr(tally) == "<CallTally 0 started, 0 succeeded, 0 failed>"


def test_what_cannot_be_told():
    """Anything but a channel or a server is refused, and so is a negative trace."""
    with pytest.raises(ConfigurationError, match="neither a Channel, a ConnectionPool nor a Server"):
        ChannelzRegistry().add(object())
    with pytest.raises(ConfigurationError, match="trace is -1"):
        ChannelzRegistry(trace=-1)
