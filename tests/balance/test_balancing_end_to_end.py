"""Every policy with real servers that start, stop, slow down and fail."""

from collections import Counter
from random import Random

import anyio
import pytest

from echo import EchoStub, RawCodec
from fleet import fleet, ready, servers_only
from orbit_net.channelz import ChannelzRegistry
from orbit_net.client import (
    Channel,
    Connectivity,
    FailurePercentage,
    HedgingPolicy,
    LeastRequest,
    MethodConfig,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    ServiceConfig,
    WeightedRoundRobin,
)
from orbit_net.errors import RpcError
from orbit_net.server import ServerSettings
from orbit_net.status import Status
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.once]


async def counts(stub, number, **options):
    """Make calls one after the other, and return who answered how often."""
    return Counter([int(await stub.having(**options).unary(b"x")) for _ in range(number)])


async def test_round_robin():
    """All in turn; a server that stops is left out without an error, and comes back by itself."""
    async with fleet(3, balancing=RoundRobin()) as (servers, channel, stub):
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 3)
        assert await counts(stub, 30) == {0: 10, 1: 10, 2: 10}
        await servers.stop(1)
        await until(lambda: ready(channel) == 2)
        assert await counts(stub, 30) == {0: 15, 2: 15}
        assert channel.state is Connectivity.READY
        await servers.start(1)
        await until(lambda: ready(channel) == 3)
        assert await counts(stub, 30) == {0: 10, 1: 10, 2: 10}


async def test_all_servers_gone_and_back():
    """Calls fail at once with the reasons, those that may wait do, and go on when a server is there again."""
    async with fleet(2, balancing=RoundRobin()) as (servers, channel, stub):
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 2)
        for number in (0, 1):
            await servers.stop(number)
        await until(lambda: channel.state is Connectivity.TRANSIENT_FAILURE)
        with pytest.raises(RpcError, match=r"none of 2 backends is ready: cannot connect to 127\.0\.0\.1") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        answers = []

        async def patient():
            answers.append(await stub.having(wait_for_ready=True).unary(b"x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(patient)
            await until(lambda: len(channel.line._waiting) == 1)
            late = (
                r"Deadline exceeded; there was no connection: none of 2 backends is ready: cannot connect to 127\.0\."
            )
            with pytest.raises(RpcError, match=late):
                await stub.having(wait_for_ready=True, timeout=0.05).unary(b"x")
            assert not answers
            await servers.start(1)
        assert answers == [b"1"]
        assert not channel.line._waiting


async def test_pick_first():
    """One server has all calls; when it stops the next one has them, and it stays with that."""
    async with fleet(3) as (servers, channel, stub):
        assert await counts(stub, 5) == {0: 5}
        assert len(channel.line.subchannels) == 1
        await servers.stop(0)
        await until(lambda: channel.state is not Connectivity.READY)
        assert await counts(stub, 5) == {1: 5}
        await servers.start(0)
        assert await counts(stub, 5) == {1: 5}
        await servers.stop(1)
        await servers.stop(0)
        await until(lambda: channel.state is not Connectivity.READY)
        assert await counts(stub, 5) == {2: 5}


async def test_pick_first_shuffles():
    """Channels with other chances take other servers."""
    seen = set()
    for seed in range(8):
        async with fleet(3, balancing=PickFirst(shuffle=True), random=Random(seed)) as (_, _, stub):
            seen.add(int(await stub.unary(b"x")))
    assert len(seen) > 1


async def test_least_request_avoids_a_slow_server():
    """A server that does not answer keeps its few calls and gets hardly any more."""
    async with fleet(4, balancing=LeastRequest(choices=3)) as (servers, channel, stub):
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 4)
        servers.services[2].gate = anyio.Event()
        answers = Counter()

        async def one():
            answers[int(await stub.unary(b"x"))] += 1

        async with anyio.create_task_group() as tasks:
            for batch in range(1, 26):
                for _ in range(8):
                    tasks.start_soon(one)
                stuck = channel.line.subchannels[2]
                await until(lambda batch=batch, stuck=stuck: answers.total() + stuck.active == 8 * batch)
            assert 1 <= channel.line.subchannels[2].active <= 12
            assert min(answers[number] for number in (0, 1, 3)) >= 40
            servers.services[2].gate.set()
        assert answers.total() == 200


async def test_ring_hash():
    """A key has one server; when that stops the key moves and others stay; when it is back, so is the key."""
    async with fleet(4, balancing=RingHash(header="user")) as (servers, channel, stub):

        async def homes():
            return [int(await stub.unary(b"x", metadata={"user": f"u{number}"})) for number in range(60)]

        before = await homes()
        assert set(before) == {0, 1, 2, 3}
        assert await homes() == before
        assert await counts(stub, 5, hash_key="u7") == {before[7]: 5}
        gone = before[0]
        await servers.stop(gone)
        await until(lambda: ready(channel) == 3)
        during = await homes()
        assert [new for old, new in zip(before, during, strict=True) if old != gone] == [n for n in before if n != gone]
        assert gone not in during
        await servers.start(gone)
        await until(lambda: ready(channel) == 4)
        assert await homes() == before


async def test_ring_hash_connects_only_to_what_it_needs():
    """One key, one connection."""
    async with fleet(4, balancing=RingHash()) as (_, channel, stub):
        assert len(await counts(stub, 10, hash_key=b"one")) == 1
        assert sum(one.state is Connectivity.READY for one in channel.line.subchannels) == 1


async def test_static_weights():
    """The weights that stand in the target."""
    async with servers_only(3) as servers:
        target = "static:" + ",".join(f"{one};weight={n + 1}" for n, one in enumerate(servers.targets))
        async with Channel(target, codec=RawCodec(), balancing=WeightedRoundRobin(reports=False)) as channel:
            stub = EchoStub(channel)
            await stub.unary(b"x")
            await until(lambda: ready(channel) == 3)
            found = await counts(stub, 120)
            assert all(abs(found[n] - 20 * (n + 1)) <= 3 for n in range(3))


async def test_the_one_bad_of_ten_is_ejected_and_taken_back():
    """Its calls fail; after a sweep nobody meets it any more, and after its time everybody may again."""
    detection = OutlierDetection(
        interval=0.2, base_ejection=0.5, success_rate=None, failure_percentage=FailurePercentage(request_volume=10)
    )
    async with fleet(10, balancing=detection) as (servers, channel, stub):
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 10)
        servers.services[4].failing = True
        failures = 0
        with anyio.fail_after(10):
            while ready(channel) == 10:
                try:
                    await stub.unary(b"x")
                except RpcError:
                    failures += 1
        assert failures >= 10
        [ejected] = [backend for backend in channel.line.backends if backend.ejected]
        assert ejected.name == servers.targets[4]
        assert "ejected" in repr(channel)
        assert channel.state is Connectivity.READY
        servers.services[4].failing = False
        found = await counts(stub, 27)
        assert 4 not in found or ready(channel) == 10
        await until(lambda: ready(channel) == 10)
        assert 4 in await counts(stub, 20)


async def test_calls_wait_for_room_and_move_when_it_is_lost():
    """Calls that wait for a stream on a server that stops are answered by another one."""
    async with fleet(2, server={"settings": ServerSettings(max_concurrent_streams=1)}, balancing=RoundRobin()) as (
        servers,
        channel,
        stub,
    ):
        for service in servers.services:
            service.gate = anyio.Event()
        answers, errors = [], []

        async def one():
            try:
                answers.append(await stub.unary(b"x"))
            except RpcError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            channel.connect()
            await until(lambda: ready(channel) == 2)
            for _ in range(6):
                tasks.start_soon(one)
            await until(lambda: len(channel.line._rows) == 4)
            servers.services[1].gate.set()
            await until(lambda: len(answers) == 3)
            assert answers == [b"1"] * 3
            await servers.stop(0)
        # The one that had begun on the lost server may not be repeated; the two that waited there were.
        assert (answers, len(errors)) == ([b"1"] * 5, 1)
        assert not len(channel.line._rows)


async def test_one_repr_shows_it_all():
    """Policy, state, and each address with its state, streams, weight and error."""
    async with fleet(2, balancing=RoundRobin()) as (servers, channel, stub):
        a, b = servers.targets
        assert repr(channel) == (f"<Channel 'static:{a},{b}' <Balancer round_robin idle, 0 of 0 ready, 0 waiting>>")
        await servers.stop(1)
        await stub.unary(b"x")
        await until(lambda: channel.line.subchannels[1].error is not None)
        async with stub.chat() as call:
            await call.send_request()
            text = repr(channel)
        assert f"<Balancer round_robin ready, 1 of 2 ready, 0 waiting [{a} ready, 1 streams] [{b} " in text
        assert f"cannot connect to {b}" in text
    assert "round_robin shutdown" in repr(channel)


async def test_states():
    """A watcher sees the channel come and go."""
    async with fleet(2, balancing=RoundRobin()) as (servers, channel, stub):
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
            for number in (0, 1):
                await servers.stop(number)
            await until(lambda: seen[-1] is Connectivity.TRANSIENT_FAILURE)
            channel.close()
            await until(lambda: seen[-1] is Connectivity.SHUTDOWN)
        with pytest.raises(RpcError, match="the channel is closed"):
            await stub.unary(b"x")


@pytest.mark.parametrize("balancing", [RoundRobin(), LeastRequest(), WeightedRoundRobin()])
async def test_a_hedge_goes_to_another_server(balancing):
    """Of three servers two stand still: the third attempt meets the one that does not, whatever chance says."""
    hedging = HedgingPolicy(max_attempts=3, hedging_delay=0.02)
    config = ServiceConfig(methods=(MethodConfig(hedging=hedging),), balancing=balancing)
    async with fleet(3, service_config=config) as (servers, channel, stub):
        channel.connect()
        await until(lambda: ready(channel) == 3)
        for round_ in range(6):
            fast = round_ % 3
            for number, service in enumerate(servers.services):
                service.gate = None if number == fast else anyio.Event()
            assert await stub.unary(b"x") == b"%d" % fast
            for service in servers.services:
                if service.gate is not None:
                    service.gate.set()
            await until(lambda: not any(one.streams for one in channel.line.subchannels))
        assert not len(channel.line._rows)


async def test_channelz_sees_the_subchannels():
    """Each is told once, also those that come and go."""
    registry = ChannelzRegistry()
    async with fleet(3, balancing=RoundRobin()) as (_, channel, stub):
        registry.add(channel)
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 3)
        assert {subchannel for _, subchannel in registry.subchannels} == set(channel.line.subchannels)
        assert len(list(registry.sockets)) == 3
