"""How connections are made, shared, rested and given up when there are many addresses."""

from itertools import pairwise

import anyio
import pytest

from echo import Echo, EchoStub, RawCodec
from fleet import FAST, fleet, ready, servers_only
from memory import memory_pair
from orbit_net.client import (
    Channel,
    ChannelSettings,
    Connectivity,
    LeastRequest,
    PickFirst,
    Resolution,
    ResolvedEndpoint,
    RingHash,
    RoundRobin,
    SubchannelPool,
    TlsConfig,
)
from orbit_net.client.balance.timekeeper import Timekeeper
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.net import TcpAddress, connect, parse_target
from orbit_net.server import Server
from orbit_net.status import Status
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.once]


class Dial:
    """Opens streams in memory to a server; some addresses hang, refuse, or never say SETTINGS."""

    def __init__(self, tasks, server, **behaviours):
        self.order = []
        self.times = []
        self.cancelled = []
        self.mute = []
        self._tasks = tasks
        self._server = server
        self._behaviours = behaviours

    async def __call__(self, address):
        self.order.append(address.host)
        self.times.append(anyio.current_time())
        behaviour = self._behaviours.get(address.host)
        if behaviour == "hangs":
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled.append(address.host)
        if behaviour == "refuses":
            raise ConnectError(f"{address.host} refuses")
        ours, theirs = memory_pair()
        if behaviour == "mute":
            self.mute.append(theirs)
        else:
            self._tasks.start_soon(self._server.serve_stream, theirs)
        return ours


class Three:
    """Gives three addresses as one list."""

    authority = "three"

    async def resolve(self):
        hosts = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
        return Resolution(endpoints=[ResolvedEndpoint(addresses=(TcpAddress(host, 1),)) for host in hosts])


async def dialled(call, *, balancing=None, **behaviours):
    """Run ``call(dial, channel, stub)`` with hosts that behave as told; b is 10.0.0.2, and so on."""
    named = {f"10.0.0.{'abc'.index(key) + 1}": value for key, value in behaviours.items()}
    async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:
        dial = Dial(tasks, server, **named)
        options = {"resolver": Three(), "dial": dial, "codec": RawCodec(), "settings": FAST}
        async with Channel("three", balancing=balancing, **options) as channel:
            await call(dial, channel, EchoStub(channel, timeout=10))
        for stream in dial.mute:
            await stream.aclose()
        server.close()


@pytest.mark.parametrize("behaviour", ["hangs", "mute"])
async def test_an_address_that_does_not_answer(behaviour):
    """After 250 ms the next address is tried beside it, and wins: also against a host that accepts and says nothing."""

    async def call(dial, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert dial.order == ["10.0.0.1", "10.0.0.2"]
        assert 0.2 <= dial.times[1] - dial.times[0] < 2
        if behaviour == "hangs":
            assert dial.cancelled == ["10.0.0.1"]
        [subchannel] = channel.line.subchannels
        assert subchannel.way == "10.0.0.2:1"
        await until(lambda: len(subchannel._connections) == 1)

    await dialled(call, a=behaviour)


async def test_an_address_that_refuses():
    """The next one is tried at once, not after the delay."""

    async def call(dial, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert dial.order == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        assert dial.times[2] - dial.times[0] < 2 - 0.01

    await dialled(call, balancing=PickFirst(attempt_delay=2.0), a="refuses", b="refuses")


async def test_no_address_answers():
    """The call fails with the reason of the last one, and the channel says so."""

    async def call(dial, channel, stub):
        with pytest.raises(RpcError, match=r"10\.0\.0\.3 refuses") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        assert channel.state is Connectivity.TRANSIENT_FAILURE
        await until(lambda: len(dial.order) >= 3)

    await dialled(call, a="refuses", b="refuses", c="refuses")


async def test_leaving_while_racing():
    """A channel that is left during a race leaves nothing behind."""

    async def call(dial, channel, stub):
        async with anyio.create_task_group() as tasks:

            async def fails():
                with pytest.raises(RpcError, match="the channel is closed"):
                    await stub.unary(b"x")

            tasks.start_soon(fails)
            await until(lambda: len(dial.order) == 3)
            channel.close()
        await until(lambda: len(dial.cancelled) == 3)

    await dialled(call, balancing=PickFirst(attempt_delay=0.1), a="hangs", b="hangs", c="hangs")


async def test_an_endpoint_with_several_addresses():
    """Under other policies the addresses of one endpoint are raced in the same way."""

    class Two:
        authority = "two"

        async def resolve(self):
            first = ResolvedEndpoint(addresses=(TcpAddress("10.0.0.1", 1), TcpAddress("10.0.0.2", 1)))
            return Resolution(endpoints=[first, ResolvedEndpoint(addresses=(TcpAddress("10.0.0.3", 1),))])

    async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:
        dial = Dial(tasks, server, **{"10.0.0.1": "refuses"})
        async with Channel("two", resolver=Two(), dial=dial, codec=RawCodec(), balancing=RoundRobin()) as channel:
            channel.connect()
            await until(lambda: ready(channel) == 2)
            assert await EchoStub(channel).unary(b"x") == b"x"
        server.close()


async def test_rest_and_waking():
    """Connections without calls are closed and stay so; the next call has all of them made again."""
    settings = ChannelSettings(idle_timeout=0.05)
    async with fleet(3, balancing=RoundRobin(), settings=settings) as (_, channel, stub):
        await stub.unary(b"x")
        await until(lambda: all(one.rested for one in channel.line.subchannels))
        assert channel.state is Connectivity.IDLE
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert not any(one._connections for one in channel.line.subchannels)
        assert await stub.unary(b"x") in (b"0", b"1", b"2")
        await until(lambda: {await_ready.state for await_ready in channel.line.subchannels} == {Connectivity.READY})


async def test_a_server_that_is_gone_when_it_is_woken():
    """It is tried again until it is there: its rest has nothing to do with that."""
    settings = ChannelSettings(idle_timeout=0.05, backoff=FAST.backoff)
    async with fleet(2, balancing=RoundRobin(), settings=settings) as (servers, channel, stub):
        await stub.unary(b"x")
        await until(lambda: all(one.rested for one in channel.line.subchannels))
        await servers.stop(1)
        assert await stub.unary(b"x") == b"0"
        await until(lambda: channel.line.subchannels[1].error is not None)
        await servers.start(1)
        await until(lambda: channel.line.subchannels[1].error is None)


async def test_one_connection_for_two_channels():
    """Channels that share a pool have one connection to a server; the last to leave closes it."""
    async with servers_only(2) as servers, SubchannelPool() as pool:
        options = {"codec": RawCodec(), "settings": FAST, "subchannels": pool, "balancing": RoundRobin()}
        async with Channel(servers.static, **options) as first:
            assert repr(pool) == "<SubchannelPool of 0>"
            await EchoStub(first).unary(b"x")
            async with Channel(servers.static, **options) as second:
                await EchoStub(second).unary(b"x")
                await until(lambda: ready(first) == ready(second) == 2)
                assert first.line.subchannels == second.line.subchannels == pool.subchannels
                other = {**options, "settings": ChannelSettings(stream_window=100_000)}
                async with Channel(servers.static, **other) as third:
                    third.connect()
                    await until(lambda: ready(third) == 2)
                    assert len(pool.subchannels) == 4
                async with EchoStub(second).chat() as call:
                    await call.send_message(b"1")
                    assert await call.recv_message() == b"1"
                assert len(pool.subchannels) == 2
            assert ready(first) == 2, "the other channel has left, and the connections stay"
            assert await EchoStub(first).unary(b"x") in (b"0", b"1")
        assert repr(pool) == "<SubchannelPool of 0>"
        await until(lambda: not any(one._connections for one in pool._retired))
    with pytest.raises(ConfigurationError, match="entered once"):
        async with pool:
            pass


async def test_a_shared_pool_is_open_first():
    """A pool that was not entered cannot be used."""
    async with servers_only(1) as servers:
        async with Channel(servers.static, codec=RawCodec(), subchannels=SubchannelPool()) as channel:
            with pytest.raises(RpcError, match="the pool of subchannels is not open"):
                await EchoStub(channel, timeout=10).unary(b"x")


async def test_a_pool_that_is_closed_under_a_channel():
    """Calls fail at once and say so; nothing waits for what will not come."""
    async with servers_only(1) as servers, anyio.create_task_group() as tasks:
        pool, closed = SubchannelPool(), anyio.Event()

        async def own(*, task_status):
            async with pool:
                task_status.started()
                await closed.wait()

        await tasks.start(own)
        async with Channel(servers.static, codec=RawCodec(), subchannels=pool, balancing=RoundRobin()) as channel:
            stub = EchoStub(channel, timeout=10)
            assert await stub.unary(b"x") == b"0"
            closed.set()
            await until(lambda: channel.state is Connectivity.TRANSIENT_FAILURE)
            with pytest.raises(RpcError, match="none of 1 backends is ready"):
                await stub.unary(b"x")


async def test_time_is_kept_over_resets():
    """News that come more often than a thing is due do not keep it from being done."""
    done = []
    keeper = Timekeeper(lambda: {done.append: 0.05})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        with anyio.fail_after(10):
            while len(done) < 3:
                keeper.reset()
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(done))


async def test_tls_to_many(site):
    """Each server is checked for the name that the resolver gives, and what is trusted is shared."""
    async with servers_only(2, tls=site.for_mtls()) as servers:
        port = [target.rpartition(":")[2] for target in servers.targets]
        target = f"static:127.0.0.1:{port[0]},localhost:{port[1]}"
        tls = site.with_certificate()
        async with SubchannelPool() as pool:
            options = {"codec": RawCodec(), "tls": tls, "balancing": RoundRobin(), "subchannels": pool}
            async with Channel(target, **options) as one, Channel(target, **options) as two:
                for channel in (one, two):
                    channel.connect()
                    await until(lambda channel=channel: ready(channel) == 2)
                    assert await EchoStub(channel).unary(b"x") in (b"0", b"1")
                assert one.tls is two.tls
                assert len(pool.subchannels) == 2

        class Elsewhere:
            authority = "elsewhere"

            async def resolve(self):
                address = parse_target(servers.targets[0])
                return Resolution(endpoints=[ResolvedEndpoint(addresses=(address,), server_name="other.test")])

        async with Channel(
            "x", resolver=Elsewhere(), codec=RawCodec(), tls=tls, settings=FAST, balancing=RoundRobin()
        ) as channel:
            with pytest.raises(RpcError, match=r"other\.test"):
                await EchoStub(channel, timeout=10).unary(b"x")
    assert isinstance(tls, TlsConfig)


async def test_the_authority_of_many():
    """Calls say that of the resolver, or of the settings."""
    assert Channel("static:a:1,b:2")._authority == b"a:1"
    assert Channel("static:a:1,b:2", settings=ChannelSettings(authority="shop"))._authority == b"shop"


@pytest.mark.parametrize("balancing", [RoundRobin(), LeastRequest(), RingHash()])
async def test_a_call_that_is_given_up_while_it_waits(balancing):
    """It leaves no trace where it waited, for a connection or for a stream."""
    gate = anyio.Event()

    async def slowly(address):
        await gate.wait()
        return await connect(address)

    async with servers_only(2) as servers:
        async with Channel(servers.static, codec=RawCodec(), dial=slowly, balancing=balancing) as channel:
            stub = EchoStub(channel)
            with anyio.move_on_after(0.02):
                await stub.unary(b"x")
            with pytest.raises(RpcError, match="Deadline exceeded"):
                await stub.having(timeout=0.02).unary(b"x")
            assert not channel.line._waiting
            assert not len(channel.line._rows)
            gate.set()
            assert await stub.having(timeout=10).unary(b"x") in (b"0", b"1")


async def test_the_states_of_a_single_connection():
    """A channel without a balancer can be connected and watched in the same way."""
    async with servers_only(1) as servers, Channel(servers.targets[0], codec=RawCodec(), settings=FAST) as channel:
        seen = []

        async def watch():
            async for state in channel.states():
                seen.append(state)  # noqa: PERF401 - it is looked at while it grows

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await until(lambda: seen == [Connectivity.IDLE])
            channel.connect()
            assert await channel.wait_for_state_change(Connectivity.IDLE) is Connectivity.CONNECTING
            await until(lambda: seen[-1] is Connectivity.READY)
            assert channel.subchannel is channel.line
            await servers.stop(0)
            await until(lambda: seen[-1] is Connectivity.IDLE)
            channel.connect()
            await until(lambda: Connectivity.TRANSIENT_FAILURE in seen)
            channel.close()
            await until(lambda: seen[-1] is Connectivity.SHUTDOWN)
        channel.connect()
        assert channel.state is Connectivity.SHUTDOWN
