"""The connection pool over memory streams, with a clock of the test's own."""

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

import orbit_net.client.pool.connection_pool as pool_module
from echo import Echo, EchoStub, RawCodec
from memory import HANG
from orbit_net.client import BreakerPolicy, BreakerState, ConnectionPool, TransportConfig
from orbit_net.errors import ConfigurationError, ConnectError, NetworkError, RpcError
from orbit_net.server import Server, ServerSettings, current_call
from orbit_net.status import Status
from orbit_net.testing import MemoryNetwork, VirtualClock
from settle import until

pytestmark = pytest.mark.anyio

ONE, TWO = "node1:50051", "node2:50051"


class Gated(Echo):
    """Answers when ``gate`` is set; counts what is under way."""

    def __init__(self):
        self.gate = anyio.Event()
        self.under_way = 0

    async def unary(self, request):
        self.under_way += 1
        await self.gate.wait()
        return request


@asynccontextmanager
async def pooled(service=None, config=None, *, settings=None, **options):
    """Give ``(pool, network)``; the time stands still unless ``clock`` is given."""
    with anyio.fail_after(HANG):
        async with (
            Server([service or Echo()], codec=RawCodec(), settings=settings) as server,
            anyio.create_task_group() as tasks,
        ):
            network = MemoryNetwork(tasks)
            for endpoint in (ONE, TWO):
                network.serve(endpoint, server.serve_stream)
            options.setdefault("clock", VirtualClock(1_000.0))
            async with ConnectionPool(config, codec=RawCodec(), connector=network.connect, **options) as pool:
                yield pool, network
            server.close()


async def stub_of(pool, endpoint=ONE):
    """Return a stub on the pool's connection to an endpoint."""
    return EchoStub(await pool.get_connection(endpoint))


async def test_reuse():
    """A second question for an endpoint gives the same connection, as documented."""
    async with pooled() as (pool, network):
        first = await pool.get_connection(ONE)
        second = await pool.get_connection(ONE)
        assert first is second
        assert (await pool.get_stats()).total_connections == 1
        assert await EchoStub(first).unary(b"x") == b"x"
        assert await EchoStub(second).unary(b"y") == b"y"
        assert network.connects == [ONE]
        assert (await pool.get_stats()).total_connections == 1


async def test_all_kinds_of_call():
    """A stub on a pooled connection is like a stub on a channel."""
    async with pooled() as (pool, _):
        stub = await stub_of(pool)
        assert [reply async for reply in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2"]) == b"3"
        async with stub.chat() as call:
            call.start_sender([b"a", b"b"])
            assert [reply async for reply in call] == [b"a", b"b"]


async def test_a_further_connection_only_when_full():
    """Up to the limit a connection is opened when MAX_CONCURRENT_STREAMS is reached on the others, then calls wait."""
    service = Gated()
    config = TransportConfig(max_connections_per_endpoint=2)
    async with pooled(service, config, settings=ServerSettings(max_concurrent_streams=2)) as (pool, network):
        stub = await stub_of(pool)
        async with stub.chat() as warm_up:
            await warm_up.send_message(b"x", end=True)
            assert await warm_up.recv_message() == b"x"
            assert await warm_up.recv_message() is None
        async with anyio.create_task_group() as tasks:
            for number, connections in [(1, 1), (2, 1), (3, 2), (4, 2)]:
                tasks.start_soon(stub.unary, b"x")
                await until(lambda number=number: service.under_way == number)
                assert len(network.connects) == connections
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: repr(pool).startswith("<ConnectionPool [Requests: 5 active"))
            assert repr(pool) == "<ConnectionPool [Requests: 5 active | Connections: 2 busy, 0 idle | Endpoints: 1]>"
            assert (service.under_way, len(network.connects)) == (4, 2)
            service.gate.set()
        assert service.under_way == 5
        assert repr(pool) == "<ConnectionPool [Requests: 0 active | Connections: 0 busy, 2 idle | Endpoints: 1]>"


async def test_statistics():
    """Requests, errors and the moving average of the latency, in all and for each endpoint and connection."""
    clock = VirtualClock(1_000.0)

    class Slow(Echo):
        async def unary(self, request):
            clock.now += float(request)
            if request == b"3":
                current_call().abort(Status.NOT_FOUND)
            return request

    async with pooled(Slow(), clock=clock) as (pool, _):
        one, two = await stub_of(pool), await stub_of(pool, TWO)
        await one.unary(b"1")
        await one.unary(b"2")
        with pytest.raises(RpcError):
            await one.unary(b"3")
        await two.unary(b"10")
        stats = await pool.get_stats()
        assert (stats.total_connections, stats.total_requests, stats.total_errors) == (2, 4, 1)
        expected = (1.0 * 0.9 + 0.2) * 0.9 + 0.3
        assert stats.endpoints[ONE].average_latency_ms == pytest.approx(expected * 1_000)
        assert stats.average_latency_ms == pytest.approx((expected * 0.9 + 1.0) * 1_000)
        assert stats.endpoints[TWO].average_latency_ms == pytest.approx(10_000)
        assert (stats.endpoints[ONE].total_requests, stats.endpoints[ONE].total_errors) == (3, 1)
        [connection] = stats.endpoints[ONE].connections
        assert (connection.created, connection.last_used) == (1_000.0, 1_006.0)
        assert (connection.active, connection.requests, connection.errors) == (0, 3, 1)
        assert stats.endpoints[ONE].breaker is BreakerState.CLOSED


async def test_what_is_no_error():
    """A call that its caller left, and one that was never begun, are no errors, and no call stays counted."""
    service = Gated()
    async with pooled(service) as (pool, _):
        stub = await stub_of(pool)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: service.under_way)
            tasks.cancel_scope.cancel()
        async with stub.chat() as call:
            await call.send_message(b"x")
            await call.cancel()
        async with stub.chat():
            pass
        stats = await pool.get_stats()
        assert (stats.total_requests, stats.total_errors, stats.average_latency_ms) == (2, 0, 0)
        assert "Requests: 0 active" in repr(pool)


async def test_streams_do_not_count_as_latency():
    """How long a stream of replies stays open says nothing about latency."""
    clock = VirtualClock(1_000.0)
    async with pooled(clock=clock) as (pool, _):
        async with (await stub_of(pool)).chat() as call:
            await call.send_message(b"x", end=True)
            clock.now += 100
            assert [reply async for reply in call] == [b"x"]
        stats = await pool.get_stats()
        assert (stats.total_requests, stats.average_latency_ms) == (1, 0)


async def test_cleaning_up():
    """Idle connections are closed, busy ones are not, and the next call makes a new one."""
    clock, service = VirtualClock(1_000.0), Gated()
    async with pooled(service, clock=clock) as (pool, network):
        one, two = await stub_of(pool), await stub_of(pool, TWO)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.unary, b"x")
            assert [reply async for reply in two.count(b"1")] == [b"0"]
            await until(lambda: service.under_way)
            clock.now += 600
            assert await pool.cleanup_idle_connections(timedelta(seconds=601)) == 0
            assert await pool.cleanup_idle_connections(600) == 1
            assert (await pool.get_stats()).total_connections == 1
            service.gate.set()
        assert await pool.cleanup_idle_connections(0) == 1
        stats = await pool.get_stats()
        assert (stats.total_connections, stats.total_requests) == (0, 2)
        assert await two.unary(b"again") == b"again"
        assert sorted(network.connects) == [ONE, TWO, TWO]
        with pytest.raises(ConfigurationError, match="max_idle is -1"):
            await pool.cleanup_idle_connections(-1)


async def test_cleaning_up_by_itself(monkeypatch):
    """The pool closes idle connections in the background; the interval is five minutes, the idle time ten."""
    assert (pool_module.CLEANUP_INTERVAL, pool_module.MAX_IDLE) == (300, 600)
    monkeypatch.setattr(pool_module, "CLEANUP_INTERVAL", 0.01)
    clock = VirtualClock(1_000.0)
    async with pooled(clock=clock) as (pool, _):
        await (await stub_of(pool)).unary(b"x")
        clock.now += 599
        cleaned, clean_up = [], pool.cleanup_idle_connections

        async def counted():
            cleaned.append(await clean_up())
            return cleaned[-1]

        monkeypatch.setattr(pool, "cleanup_idle_connections", counted)
        await until(lambda: len(cleaned) >= 2)
        assert "1 idle" in repr(pool)
        clock.now += 1
        await until(lambda: "0 idle" in repr(pool))


async def test_the_maximum_age():
    """After an hour a connection takes no more calls; those that it has go on."""
    clock, service = VirtualClock(1_000.0), Gated()
    async with pooled(service, clock=clock) as (pool, network):
        stub = await stub_of(pool)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: service.under_way)
            clock.now += 3_600
            assert [reply async for reply in stub.count(b"1")] == [b"0"]
            assert network.connects == [ONE, ONE]
            assert "Connections: 1 busy, 1 idle" in repr(pool)
            service.gate.set()
        assert [reply async for reply in stub.count(b"1")] == [b"0"]
        assert "Connections: 0 busy, 1 idle" in repr(pool)


async def test_forgotten_endpoints():
    """What was not used for an hour is not remembered, and works all the same when it is used again."""
    clock = VirtualClock(1_000.0)
    async with pooled(clock=clock) as (pool, _):
        stub = await stub_of(pool)
        await stub.unary(b"x")
        clock.now += 3_600
        await pool.cleanup_idle_connections(0)
        assert "Endpoints: 0" in repr(pool)
        assert await stub.unary(b"x") == b"x"


async def test_the_request_timeout():
    """It ends a call with one reply, is the most that such a call may ask for, and leaves streams alone."""
    left = []

    class Deadlines(Echo):
        async def unary(self, request):
            left.append(current_call().deadline.time_remaining())
            return request

        async def chat(self, stream):
            left.append(current_call().deadline)
            await super().chat(stream)

    async with pooled(Deadlines(), TransportConfig(request_timeout=10)) as (pool, _):
        stub = await stub_of(pool)
        await stub.unary(b"x")
        await stub.unary(b"x", timeout=60)
        await stub.unary(b"x", timeout=5)
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            await call.recv_message()
    assert [round(seconds) for seconds in left[:3]] == [10, 10, 5]
    assert left[3:] == [None]


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_the_message_size(direction):
    """It is the limit both ways."""

    class Growing(Echo):
        async def unary(self, request):
            return b"x" * int(request) if request.isdigit() else request

    async with pooled(Growing(), TransportConfig(max_message_size=100)) as (pool, _):
        stub = await stub_of(pool)
        await stub.unary(b"a" * 100)
        assert len(await stub.unary(b"100")) == 100
        with pytest.raises(RpcError, match="101 bytes is larger than the limit of 100") as raised:
            await stub.unary(b"a" * 101 if direction == "sent" else b"101")
        assert raised.value.status is Status.RESOURCE_EXHAUSTED


async def test_retries():
    """A call is tried again as often as configured."""
    attempts = []

    class Failing(Echo):
        async def unary(self, request):
            attempts.append(current_call().previous_attempts)
            current_call().abort(Status.UNAVAILABLE)

    config = TransportConfig(retry_attempts=2, retry_backoff_initial=0.001)
    async with pooled(Failing(), config) as (pool, _):
        with pytest.raises(RpcError):
            await (await stub_of(pool)).unary(b"x")
        stats = await pool.get_stats()
    assert attempts == [0, 1, 2]
    assert (stats.total_requests, stats.total_errors) == (1, 1)


async def test_the_connect_timeout():
    """An endpoint that does not answer fails the call in time."""

    async def nobody(endpoint):
        await anyio.sleep_forever()

    config = TransportConfig(connect_timeout=0.02, retry_attempts=0)
    with anyio.fail_after(HANG):
        async with ConnectionPool(config, codec=RawCodec(), connector=nobody) as pool:
            with pytest.raises(RpcError, match=r"within 0\.02 s") as raised:
                await (await stub_of(pool)).unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE


async def test_the_circuit():
    """Failures in a row isolate an endpoint, a probe brings it back, and other endpoints do not notice."""
    clock = VirtualClock(1_000.0)
    policy = BreakerPolicy(failures=2, isolation=10, probes=1)
    config = TransportConfig(retry_attempts=0, retry_backoff_initial=0.001)
    async with pooled(config=config, breaker=policy, clock=clock) as (pool, network):
        network.down.add(ONE)
        stub = await stub_of(pool)
        for _ in range(2):
            with pytest.raises(RpcError, match="nobody listens"):
                await stub.unary(b"x")
        tried = len(network.connects)
        with pytest.raises(RpcError, match="the circuit to node1:50051 is open") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        with pytest.raises(ConnectError, match="the circuit to node1:50051 is open"):
            await pool.get_connection(ONE)
        assert len(network.connects) == tried
        assert await (await stub_of(pool, TWO)).unary(b"x") == b"x"
        network.down.clear()
        clock.now += 10
        assert await stub.having(wait_for_ready=True).unary(b"x", timeout=10) == b"x"
        stats = await pool.get_stats()
        assert stats.endpoints[ONE].breaker is BreakerState.CLOSED
        assert stats.total_requests == 4


async def test_answers_keep_the_circuit_closed():
    """A status that the application chose is an answer: the endpoint is well."""

    class Refusing(Echo):
        async def unary(self, request):
            current_call().abort(Status.INVALID_ARGUMENT)

    async with pooled(Refusing(), breaker=BreakerPolicy(failures=1)) as (pool, _):
        stub = await stub_of(pool)
        for _ in range(3):
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x")
            assert raised.value.status is Status.INVALID_ARGUMENT


async def test_without_a_circuit_breaker():
    """Switched off, no failure isolates anything."""
    config = TransportConfig(retry_attempts=0, retry_backoff_initial=0.001)
    async with pooled(config=config, breaker=None) as (pool, network):
        network.down.add(ONE)
        stub = await stub_of(pool)
        for _ in range(10):
            with pytest.raises(RpcError, match="nobody listens"):
                await stub.unary(b"x")
        assert (await pool.get_stats()).endpoints[ONE].breaker is None


async def test_wrong_use():
    """A pool must be entered, once, and an endpoint must be an address; after the end there are no calls."""
    pool = ConnectionPool(codec=RawCodec())
    with pytest.raises(ConfigurationError, match="async with"):
        await pool.get_connection(ONE)
    async with pool:
        with pytest.raises(ConfigurationError):
            await pool.get_connection("http://")
        stub = await stub_of(pool)
        with pytest.raises(ConfigurationError, match="once"):
            await pool.__aenter__()
    with pytest.raises(NetworkError, match="the pool is closed"):
        await stub.unary(b"x")


async def test_leaving_the_pool():
    """Open calls fail with UNAVAILABLE, and no connection is left."""
    service = Gated()
    failed = []
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            async with pooled(service) as (pool, _):
                stub = await stub_of(pool)

                async def call():
                    try:
                        await stub.unary(b"x")
                    except RpcError as error:
                        failed.append(error.status)

                tasks.start_soon(call)
                await until(lambda: service.under_way)
                [endpoint] = pool._endpoints.values()
                assert repr(endpoint).startswith(f"<Endpoint {ONE} [Connections: 1 busy, 0 idle], <CircuitBreaker")
                assert repr(stub.channel).startswith(f"<PooledConnection {ONE} of <ConnectionPool ")
    assert failed == [Status.UNAVAILABLE]
    assert not endpoint.members[0].channel.subchannel._connections
