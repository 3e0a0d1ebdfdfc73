"""Virtual time: hours pass in no time, in their order."""

import time

import anyio
import pytest
import trio.testing

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, KeepaliveSettings
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.status import Status
from orbit_net.testing import ChannelFor, FaultyStream, Pause, VirtualClock, virtual_time
from orbit_net.wire.keepalive import Keepalive, KeepaliveAction

pytestmark = pytest.mark.anyio

HOUR = 3_600.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """trio with a clock that can jump."""
    return (request.param, {"clock": trio.testing.MockClock(rate=1)} if request.param == "trio" else {})


@pytest.fixture
def no_real_time():
    """Fails a test that takes long in real time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 10


class Sleepy(Echo):
    """Answers after an hour."""

    async def unary(self, request):
        await anyio.sleep(HOUR)
        return request


async def test_sleeps_take_no_time(no_real_time):
    """Tasks that sleep wake up in the order of their times, and the clock says what they slept."""
    order = []

    async def sleep(hours):
        await anyio.sleep(hours * HOUR)
        order.append((hours, round((anyio.current_time() - began) / HOUR)))

    async with virtual_time():
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for hours in (3, 1, 2):
                tasks.start_soon(sleep, hours)
    assert order == [(1, 1), (2, 2), (3, 3)]


async def test_deadlines_of_calls(no_real_time):
    """A call that takes an hour is answered, unless it has half an hour only."""
    async with virtual_time(), ChannelFor([Sleepy()], RawCodec()) as channel:
        stub = EchoStub(channel)
        began = anyio.current_time()
        assert await stub.unary(b"x", timeout=2 * HOUR) == b"x"
        assert anyio.current_time() - began == pytest.approx(HOUR, abs=1)
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"x", timeout=HOUR / 2)
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert anyio.current_time() - began == pytest.approx(1.5 * HOUR, abs=1)


async def test_backoff_of_connections(no_real_time):
    """A channel comes back after backoffs of minutes."""
    attempts = []

    async def connector():
        attempts.append(anyio.current_time())
        raise ConnectError("not today")

    settings = ChannelSettings(backoff=BackoffPolicy(initial=60.0, maximum=600.0, multiplier=2.0, jitter=0.0))
    async with virtual_time(), Channel("memory:1", connector=connector, settings=settings) as channel:
        with anyio.move_on_after(1_000):
            await EchoStub(channel).having(wait_for_ready=True).unary(b"x")
    assert [round(attempt - attempts[0]) for attempt in attempts] == [0, 60, 180, 420, 900]


async def test_keepalive_finds_a_dead_line(no_real_time):
    """A line that goes silent is noticed by the ping that nobody answers, a minute later by the clock."""
    settings = ChannelSettings(keepalive=KeepaliveSettings(time=40.0, timeout=20.0))
    site = ChannelFor([Echo()], RawCodec(), wrap=FaultyStream)
    async with site as channel:
        await EchoStub(channel).unary(b"x")
        [link] = site.connector.links
    silent = Pause(link.received, until=anyio.Event())  # after the same bytes, between two frames
    async with virtual_time():
        site = ChannelFor(
            [Echo()], RawCodec(), settings=settings, wrap=lambda stream: FaultyStream(stream, receive=[silent])
        )
        async with site as channel:
            stub = EchoStub(channel)
            await stub.unary(b"x")
            began = anyio.current_time()
            with pytest.raises(RpcError, match="keepalive"):
                await stub.unary(b"x")
            assert anyio.current_time() - began == pytest.approx(60.0, abs=1)


async def test_time_does_not_go_back():
    """After the block the clock goes on from where it was, at its usual speed."""
    async with virtual_time():
        await anyio.sleep(HOUR)
        inside = anyio.current_time()
    assert anyio.current_time() >= inside
    async with virtual_time():
        await anyio.sleep(HOUR)
        assert anyio.current_time() - inside >= HOUR


async def test_patience_for_threads():
    """With patience, what happens in real time comes first."""
    async with virtual_time(patience=5.0):
        with anyio.move_on_after(HOUR) as scope:
            await anyio.to_thread.run_sync(time.sleep, 0.05, abandon_on_cancel=True)
        assert not scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_clock_that_cannot_jump(anyio_backend):
    """On trio with its usual clock, the error says how to run the program."""
    with pytest.raises(ConfigurationError, match="MockClock"):
        async with virtual_time():
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_foreign_loop(anyio_backend, monkeypatch):
    """A loop without a selector of its own is refused."""
    import asyncio

    class Foreign:
        call_soon_threadsafe = None

    monkeypatch.setattr("anyio.lowlevel.current_token", Foreign)
    with pytest.raises(ConfigurationError, match="the clock of Foreign cannot jump"):
        async with virtual_time():
            pass
    assert asyncio.get_running_loop().time()


def test_a_clock_for_what_takes_its_time():
    """A clock that stands still drives the pure policies."""
    clock = VirtualClock(100.0)
    policy = Keepalive(10.0, 20.0, without_calls=True)
    assert policy.act(clock(), 100.0, calls=True) is KeepaliveAction.NOTHING
    assert clock.advance(10.0) == 110.0
    assert policy.act(clock(), 100.0, calls=True) is KeepaliveAction.PING
    clock.advance(20.0)
    assert policy.act(clock(), 100.0, calls=True) is KeepaliveAction.CLOSE
    assert repr(clock) == "<VirtualClock at 130 s>"
    with pytest.raises(ConfigurationError, match="cannot advance by -1"):
        clock.advance(-1)
