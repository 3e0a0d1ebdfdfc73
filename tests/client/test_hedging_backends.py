"""Hedges against three servers, one of which has stalled: in real time on both loops, and in virtual time, seeded."""

import statistics
from collections import Counter
from random import Random

import anyio
import pytest
import trio.testing

from backends import backends
from echo import Echo
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio

SEED = 20260705


def hedging(delay, attempts=2, **changes):
    """Return a service config."""
    policy = {"maxAttempts": attempts, "hedgingDelay": f"{delay}s", **changes}
    return {"methodConfig": [{"name": [{"service": "test.Echo"}], "hedgingPolicy": policy}]}


class Backend(Echo):
    """Takes ``seconds()`` for a call; counts the calls begun, completed by their requests, and cancelled."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.begun = self.cancelled = 0
        self.completed = Counter()

    async def unary(self, request):
        self.begun += 1
        try:
            await anyio.sleep(self.seconds())
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        self.completed[request] += 1
        return request


async def test_one_of_three_has_stalled():
    """Every call is answered by one of the others, and the stalled one is told to stop."""
    services = [Backend(lambda: 0), Backend(lambda: 3600), Backend(lambda: 0)]
    async with backends(*services, service_config=hedging(0.02)) as (channel, stub):
        with anyio.fail_after(10):
            for number in range(12):
                assert await stub.unary(b"%d" % number) == b"%d" % number
        stalled = services[1]
        assert stalled.begun == channel.hedging.hedges >= 4
        await until(lambda: stalled.cancelled == stalled.begun)
        assert channel.hedging.cancelled == stalled.begun
        assert sum((service.completed for service in services), Counter()).total() == 12 + channel.hedging.duplicates


async def test_the_first_to_fail_is_passed_over():
    """A non-fatal failure of one server is followed by an attempt at another at once."""

    class Broken(Echo):
        async def unary(self, request):
            current_call().abort(Status.UNAVAILABLE, "broken")

    services = [Broken(), Echo(), Broken()]
    config = hedging(3600, 3, nonFatalStatusCodes=["UNAVAILABLE"])
    async with backends(*services, service_config=config) as (_channel, stub):
        with anyio.fail_after(10):
            for number in range(12):
                assert await stub.unary(b"%d" % number) == b"%d" % number
        with pytest.raises(RpcError, match="broken"):
            await stub.having(retry=False).unary(b"x")
            await stub.having(retry=False).unary(b"x")
            await stub.having(retry=False).unary(b"x")


class TestInVirtualTime:
    """Thousands of calls with seeded service times over lines that take a millisecond or so."""

    @pytest.fixture
    def anyio_backend(self):
        """When all tasks sleep, the clock jumps to the first deadline; only trio has such a clock."""
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}

    async def run(self, services, config, calls, random, *, rate):
        """Return the seconds of each call, and the channel's tally when everything has settled."""
        seconds = []

        async def one(number, stub):
            began = anyio.current_time()
            assert await stub.unary(b"%d" % number) == b"%d" % number
            seconds.append(anyio.current_time() - began)

        async with backends(*services, latency=lambda: random.uniform(0.0005, 0.0015), service_config=config) as (
            channel,
            stub,
        ):
            async with anyio.create_task_group() as tasks:
                for number in range(calls):
                    tasks.start_soon(one, number, stub)
                    await anyio.sleep(random.expovariate(rate))
            await anyio.sleep(1)  # answers that are under way arrive
            return seconds, channel.hedging

    async def test_a_stalled_server_of_three(self):
        """The 99th percentile is about twice the median, and every second completion is told of.

        More than some 20 calls a second that the stalled server does not answer are a flood of resets to it.
        """
        random = Random(SEED)
        healthy = lambda: random.uniform(0.009, 0.011)  # noqa: E731
        services = [Backend(healthy), Backend(lambda: 3600), Backend(healthy)]
        seconds, tally = await self.run(services, hedging(0.0135), 2_000, random, rate=50)
        cuts = statistics.quantiles(seconds, n=100)
        median, p99 = cuts[49], cuts[98]
        print(f"seed {SEED}: median {1e3 * median:.1f} ms, p99 {1e3 * p99:.1f} ms, {tally!r}")
        assert p99 <= 2.2 * median
        completed = sum((service.completed for service in services), Counter())
        assert len(completed) == 2_000
        assert completed.total() - 2_000 == tally.duplicates

    async def test_completions_that_cross(self):
        """With a delay below the service time calls are often completed twice, and each time that is told of."""
        random = Random(SEED + 1)
        services = [Backend(lambda: random.uniform(0.005, 0.015)) for _ in range(3)]
        seconds, tally = await self.run(services, hedging(0.004, 3), 1_000, random, rate=100)
        completed = sum((service.completed for service in services), Counter())
        assert len(completed) == len(seconds) == 1_000
        assert tally.duplicates == completed.total() - 1_000 > 50
        assert sum(service.begun for service in services) == 1_000 + tally.hedges
        print(f"seed {SEED + 1}: {tally!r}")
