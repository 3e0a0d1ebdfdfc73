"""Ten thousand subchannels: what a call costs, and what an idle subchannel keeps."""

import gc
import time
import tracemalloc
from contextlib import asynccontextmanager
from random import Random

import pytest

from orbit_net.client import (
    Channel,
    Connectivity,
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    Resolution,
    ResolvedEndpoint,
    RingHash,
    RoundRobin,
    WeightedRoundRobin,
)
from orbit_net.errors import ConnectError
from orbit_net.net import TcpAddress

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

MANY = 10_000
POLICIES = {
    "round_robin": RoundRobin(),
    "weighted_round_robin": WeightedRoundRobin(),
    "least_request": LeastRequest(),
    "ring_hash": RingHash(min_ring_size=20_000, max_ring_size=40_000),
    "outlier_detection": OutlierDetection(),
}


class Nothing:
    """A task group that runs nothing."""

    def start_soon(self, *args):
        pass


class Open:
    """A connection that has room."""

    can_open = True
    open_streams = 3


class Call:
    """A call that counts its beginnings."""

    wait_for_ready = False
    fields = ()
    stream = None
    tried = ()

    def __init__(self, key):
        self.hash_key = key
        self.begun = 0

    def begin(self, connection):
        self.begun += 1

    def refuse(self, error):
        raise error


def endpoints(count):
    """Return that many servers of several weights."""
    return [
        ResolvedEndpoint(addresses=(TcpAddress(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 50051),), weight=1 + n % 3)
        for n in range(count)
    ]


class Never:
    """A resolver that is not asked."""

    authority = "x"


@asynccontextmanager
async def simulated(balancing, count):
    """Give the balancer of a channel with ``count`` servers that are connected, or seem to be."""
    channel = Channel("x", resolver=Never(), balancing=balancing, random=Random(1))
    line = channel.line
    line._tasks = Nothing()
    line._pool.attach(Nothing())
    line.resolved(Resolution(endpoints=endpoints(count)))
    for subchannel in line.subchannels:
        subchannel._current = Open()
        subchannel.state = Connectivity.READY
    assert len(line.backends.ready) == count
    yield line


def cost(submit, calls):
    """Return the microseconds of one call, in the best of seven rounds."""
    best = float("inf")
    for _ in range(7):
        began = time.process_time()
        for call in calls:
            submit(call)
        best = min(best, time.process_time() - began)
    return best / len(calls) * 1e6


@pytest.mark.parametrize("name", POLICIES)
async def test_a_pick_costs_less_than_20_microseconds(name):
    """Of 10 servers and of 10,000, all of ``submit`` included but the beginning of the call itself."""
    costs = {}
    for count in (10, MANY):
        async with simulated(POLICIES[name], count) as line:
            calls = [Call(b"user-%d" % number) for number in range(2_000)]
            line.submit(Call(b"the first pick looks who is ready"))
            costs[count] = cost(line.submit, calls)
            assert {call.begun for call in calls} == {7}
    print(name, {count: round(value, 2) for count, value in costs.items()}, "µs")
    assert max(costs.values()) < 20, costs


async def test_the_memory_of_an_idle_subchannel():
    """All that a server costs that has not been connected to: its subchannel, its backend and its address."""
    listed = endpoints(MANY)
    channel = Channel("x", resolver=Never(), balancing=RingHash(), random=Random(1))
    channel.line._tasks = Nothing()
    channel.line._pool.attach(Nothing())
    channel.line.resolved(Resolution(endpoints=listed[:10]))
    gc.collect()
    tracemalloc.start()
    try:
        channel.line.resolved(Resolution(endpoints=listed))
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    each = size / MANY
    print(f"{each:.0f} bytes for each of {MANY} idle subchannels")
    assert len(channel.line.subchannels) == MANY
    assert all(one.state is Connectivity.IDLE for one in channel.line.subchannels)
    assert each < 2_048


async def test_all_that_fail_are_told_at_once():
    """When 10,000 servers fail, a call is refused without looking at each of them."""
    async with simulated(RingHash(min_ring_size=1_024, max_ring_size=MANY), MANY) as line:
        for subchannel in line.subchannels:
            subchannel._current = None
            subchannel.state = Connectivity.TRANSIENT_FAILURE
        assert line.state is Connectivity.TRANSIENT_FAILURE
        refused = []

        class Refused(Call):
            def refuse(self, error):
                refused.append(str(error))

        began = time.process_time()
        line.submit(Refused(b"x"))
        assert time.process_time() - began < 0.05
        assert refused[0].startswith("none of 10000 backends is ready: 10.0.0.0:50051 is transient failure")
        assert len(refused[0]) < 300
        text = repr(line)
        assert text.endswith(" and 9984 more>")
        assert len(text) < 2_000


def idle(balancing, count):
    """Return the balancer of a channel that has not resolved anything, and what it will be told."""
    channel = Channel("x", resolver=Never(), balancing=balancing, random=Random(1))
    line = channel.line
    line._tasks = Nothing()
    line._pool.attach(Nothing())
    return line, Resolution(endpoints=endpoints(count))


def ready(subchannel):
    """Have a connection, or seem to."""
    subchannel._current = Open()
    subchannel.state = Connectivity.READY
    subchannel._serve_waiting()


async def test_thousands_of_calls_wait_for_thousands_of_servers():
    """Each call has a server of its own to wait for; each begins once, when that is there, without deep recursion."""
    line, resolution = idle(RingHash(max_ring_size=40_000), 3_000)
    calls = [Call(b"user-%d" % number) for number in range(3_000)]
    began = time.process_time()
    for call in calls:
        line.submit(call)
    assert len(line._waiting) == 3_000
    line.resolved(resolution)
    connecting = [one for one in line.subchannels if one.state is Connectivity.CONNECTING]
    assert 1_000 < len(connecting) < 3_000
    assert not any(call.begun for call in calls)
    line.resolved(resolution)
    for subchannel in connecting[:100]:
        ready(subchannel)
    assert 100 <= sum(call.begun for call in calls) < 3_000
    for number, subchannel in enumerate(connecting[100:200]):
        subchannel.state = Connectivity.TRANSIENT_FAILURE
        subchannel._refuse_waiting(ConnectError("gone"))
        assert line.state is Connectivity.READY, number
    for subchannel in line.subchannels:
        if subchannel.state is Connectivity.CONNECTING:
            ready(subchannel)
    took = time.process_time() - began
    print(f"{took:.2f} s")
    assert {call.begun for call in calls} == {1}
    assert not len(line._waiting)
    assert not len(line._rows)
    assert took < 5


async def test_picks_when_most_servers_fail():
    """The way past ten thousand that fail is as short as that to the first."""
    async with simulated(RingHash(max_ring_size=40_000), MANY) as line:
        for subchannel in line.subchannels[:-2]:
            subchannel._current = None
            subchannel.state = Connectivity.TRANSIENT_FAILURE
        calls = [Call(b"user-%d" % number) for number in range(2_000)]
        line.submit(calls[0])
        each = cost(line.submit, calls[1:])
        print(f"{each:.1f} µs")
        assert each < 20


@pytest.mark.parametrize("balancing", [RoundRobin(), WeightedRoundRobin(), LeastRequest()])
async def test_thousands_of_servers_connect_under_load(balancing):
    """A call between any two connections that are made does not have the policy look at all of them each time."""
    line, resolution = idle(balancing, MANY)
    line.resolved(resolution)
    began = time.process_time()
    calls = [Call(None) for _ in range(MANY)]
    for call, subchannel in zip(calls, line.subchannels, strict=True):
        line.submit(call)
        ready(subchannel)
    took = time.process_time() - began
    print(f"{took:.2f} s for {MANY} servers")
    assert {call.begun for call in calls} == {1}
    assert took < 5
    lost = line.subchannels[::2]
    for subchannel in lost:
        subchannel._current = None
        subchannel.state = Connectivity.IDLE
    calls = [Call(None) for _ in range(1_000)]
    for call in calls:
        line.submit(call)
    assert {call.begun for call in calls} == {1}, "none was given to a server that is lost"


async def test_many_outliers_are_ejected_fast():
    """A sweep over 10,000 servers of which half are bad looks at each a few times."""
    async with simulated(OutlierDetection(success_rate=None, failure_percentage=FailurePercentage()), MANY) as line:
        for number, backend in enumerate(line.backends):
            for _ in range(50):
                backend.record.count(ok=number % 2 == 0)
        began = time.process_time()
        line._sweep(10.0)
        took = time.process_time() - began
        assert sum(backend.ejected for backend in line.backends) == MANY // 10
        print(f"{took * 1e3:.0f} ms")
        assert took < 1
