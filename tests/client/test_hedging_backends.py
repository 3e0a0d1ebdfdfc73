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

pytestmark = [pytest.mark.anyio, pytest.mark.once]

SEED = 20260705
CALLS = 1_200


def hedging(delay, attempts=2, **changes):
    """Return a service config."""
    policy = {"maxAttempts": attempts, "hedgingDelay": f"{delay}s", **changes}
    return {"methodConfig": [{"name": [{"service": "test.Echo"}], "hedgingPolicy": policy}]}


def _connections(channel):
    return [connection for one in channel.line.subchannels for connection in one._connections]


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


class Moody(Echo):
    """Answers, fails, or takes too long, by chance."""

    def __init__(self, random):
        self.random = random

    async def mood(self):
        await anyio.sleep(self.random.expovariate(200))
        match self.random.randrange(12):
            case 0:
                await anyio.sleep(3600)
            case 1 | 2:
                current_call().abort(Status.UNAVAILABLE, "moody")
            case 3:
                pushback = self.random.choice(["-1", "20"])
                current_call().abort(Status.ABORTED, "moody", metadata={"grpc-retry-pushback-ms": pushback})
            case 4:
                current_call().abort(Status.INTERNAL, "moody")

    async def unary(self, request):
        await self.mood()
        return request

    async def count(self, request):
        await self.mood()
        for number in range(int(request)):
            yield b"%d" % number
            await anyio.sleep(self.random.expovariate(1000))


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
    """Many calls with seeded service times over lines that take a millisecond or so."""

    @pytest.fixture
    def anyio_backend(self):
        """When all tasks sleep, the clock jumps to the first deadline; only trio has such a clock."""
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}

    @pytest.fixture(autouse=True)
    def deterministic(self, monkeypatch):
        """Trio runs what is ready in an order of chance, unless it is asked not to."""
        monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        monkeypatch.setattr("trio._core._run._r", Random(SEED))

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
        seconds, tally = await self.run(services, hedging(0.0135), CALLS, random, rate=50)
        cuts = statistics.quantiles(seconds, n=100)
        median, p99 = cuts[49], cuts[98]
        print(f"seed {SEED}: median {1e3 * median:.1f} ms, p99 {1e3 * p99:.1f} ms, {tally!r}")
        assert p99 <= 2.2 * median
        completed = sum((service.completed for service in services), Counter())
        assert len(completed) == CALLS
        assert completed.total() - CALLS == tally.duplicates

    async def test_completions_that_cross(self):
        """With a delay below the service time calls are often completed twice, and each time that is told of."""
        random = Random(SEED + 1)
        services = [Backend(lambda: random.uniform(0.005, 0.015)) for _ in range(3)]
        seconds, tally = await self.run(services, hedging(0.004, 3), CALLS // 2, random, rate=100)
        completed = sum((service.completed for service in services), Counter())
        assert len(completed) == len(seconds) == CALLS // 2
        assert tally.duplicates == completed.total() - CALLS // 2 > 50
        assert sum(service.begun for service in services) == CALLS // 2 + tally.hedges
        print(f"seed {SEED + 1}: {tally!r}")

    async def test_everything_at_once(self):
        """Slow, failing and refusing servers, lost connections, deadlines, callers that leave: every call ends, and
        nothing is left of any.
        """
        random = Random(SEED + 2)
        services = [Moody(random) for _ in range(3)]
        config = hedging(0.01, 4, nonFatalStatusCodes=["UNAVAILABLE", "ABORTED"])
        config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.5}
        ends = Counter()

        async def one(number, stub):
            timeout = random.choice([None, 0.02, 1])
            with anyio.move_on_after(random.choice([0.005, 0.05, 10, 10])) as scope:
                try:
                    if number % 3:
                        assert await stub.unary(b"%d" % number, timeout=timeout) == b"%d" % number
                    else:
                        replies = [reply async for reply in stub.count(b"3", timeout=timeout)]
                        assert replies == [b"0", b"1", b"2"]
                    ends["OK"] += 1
                except RpcError as error:
                    ends[error.status.name] += 1
            ends["left"] += scope.cancelled_caught

        async def cut(channel):
            while True:
                await anyio.sleep(random.expovariate(5))
                connections = sorted(_connections(channel), key=repr)
                if connections:
                    random.choice(connections).close("cut")

        async with backends(*services, latency=lambda: random.uniform(0.0005, 0.0015), service_config=config) as (
            channel,
            stub,
        ):
            async with anyio.create_task_group() as cutting:
                cutting.start_soon(cut, channel)
                async with anyio.create_task_group() as tasks:
                    for number in range(CALLS // 2):
                        tasks.start_soon(one, number, stub)
                        await anyio.sleep(random.expovariate(200))
                cutting.cancel_scope.cancel()
            await anyio.sleep(1)
            print(f"seed {SEED + 2}: {dict(ends)}, {channel.hedging!r}")
            assert sum(ends.values()) == CALLS // 2
            assert set(ends) <= {"OK", "left", "UNAVAILABLE", "ABORTED", "INTERNAL", "DEADLINE_EXCEEDED"}
            assert ends["OK"] > CALLS // 6
            assert channel.retrying.budget.used == 0
            assert not channel.retrying._delays
            assert not len(channel.timers)
            assert not any(one.waiting for one in channel.line.subchannels)
            assert not any(connection._streams for connection in _connections(channel))
