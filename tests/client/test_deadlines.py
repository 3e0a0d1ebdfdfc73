"""Deadlines: timers of the client, enforcement by the server, and what calls inside a handler inherit."""

import anyio
import pytest
from grpclib.metadata import Deadline
from hyperframe.frame import HeadersFrame, RstStreamFrame

from echo import Echo, EchoStub
from memory import in_memory
from orbit_net.client import Channel, ChannelSettings, detached
from orbit_net.errors import RpcError
from orbit_net.net import Timers
from orbit_net.server import ServerSettings, current_call
from orbit_net.status import Status
from rawpeer import OK_HEADERS, message, scripted
from settle import assert_no_leaks, turns, until

pytestmark = pytest.mark.anyio

SOON = 0.03
LONG = 60.0


class Sleeping(Echo):
    """Handlers that never answer; ``begun`` and ``ended`` tell which were entered and cancelled."""

    def __init__(self):
        self.begun = []
        self.ended = []

    async def sleep(self, name):
        self.begun.append(name)
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.append(name)

    async def unary(self, request):
        await self.sleep("unary")

    async def count(self, request):
        yield b"first"
        await self.sleep("count")

    async def sum(self, requests):
        await self.sleep("sum")

    async def chat(self, stream):
        await self.sleep("chat")


def is_late(raised):
    """Whether this is the error of a deadline."""
    return raised.value.status is Status.DEADLINE_EXCEEDED and raised.value.message == "Deadline exceeded"


@pytest.mark.parametrize("kind", ["unary", "count", "sum", "chat"])
async def test_every_kind_ends_on_both_sides(kind):
    """The client raises DEADLINE_EXCEEDED, the handler is cancelled, and nothing is left."""
    service = Sleeping()
    async with in_memory(service) as (server, channel, stub):
        await stub.count(b"0").__anext__()
        with pytest.raises(RpcError) as raised:
            if kind == "unary":
                await stub.unary(b"x", timeout=SOON)
            elif kind == "sum":
                await stub.sum([b"1"], timeout=SOON)
            elif kind == "count":
                assert [m async for m in stub.count(b"x", timeout=SOON)] == [b"first"]
            else:
                async with stub.chat(timeout=SOON) as call:
                    await call.send_request()
                    await call.recv_message()
        assert is_late(raised)
        assert raised.value.retryable
        await assert_no_leaks(server, channel)
        # On a busy machine the time may be up before the handler begins; then it never does.
        assert sorted(service.ended) == sorted(service.begun)


@pytest.mark.parametrize(
    "operation", ["recv_initial_metadata", "recv_message", "recv_trailing_metadata", "send", "exit"]
)
async def test_every_operation_is_woken(operation):
    """Whatever a call waits for when the time is up raises DEADLINE_EXCEEDED."""
    async with in_memory(Sleeping()) as (server, channel, stub):
        with pytest.raises(RpcError) as raised:
            async with stub.chat(timeout=SOON) as call:
                await call.send_request()
                if operation == "send":
                    while True:
                        await call.send_message(b"x" * 100_000)
                elif operation == "exit":
                    await call.end()
                else:
                    await getattr(call, operation)()
        assert is_late(raised)
        await assert_no_leaks(server, channel)


async def test_the_server_alone_enforces_it():
    """A client whose timers do not run still gets DEADLINE_EXCEEDED, from the server."""
    service = Sleeping()
    async with in_memory(service) as (server, channel, stub):
        channel.timers = Timers()  # which nobody runs
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=SOON)
        assert raised.value.status is Status.DEADLINE_EXCEEDED
        await assert_no_leaks(server, channel)
        assert sorted(service.ended) == sorted(service.begun)


async def test_the_client_alone_enforces_it():
    """A server that ignores grpc-timeout is reset with CANCEL when the time is up."""
    resets = []

    async def script(peer):
        await peer.accept()
        stream_id, fields, _ = await peer.request()
        assert fields["grpc-timeout"].endswith("m")
        await peer.send(peer.headers(stream_id, OK_HEADERS))
        resets.append(await peer.read(RstStreamFrame))
        await peer.send(peer.data(stream_id, message(b"late")))
        await peer.until_closed()

    async with scripted(script) as (channel, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=SOON)
        assert is_late(raised)
        await until(lambda: resets)
        await assert_no_leaks(channel)
    assert resets[0].error_code == 8


@pytest.mark.parametrize("timeout", [0, -1, -1e9])
async def test_no_time_at_all_sends_nothing(timeout):
    """Zero or less is DEADLINE_EXCEEDED at once, without a connection."""
    async with in_memory() as (_, channel, stub):
        for call in (stub.unary(b"x", timeout=timeout), stub.sum([b"x"], timeout=timeout)):
            with pytest.raises(RpcError) as raised:
                await call
            assert is_late(raised)
        with pytest.raises(RpcError):
            await stub.count(b"1", timeout=timeout).__anext__()
        with pytest.raises(RpcError):
            async with stub.chat(timeout=timeout) as call:
                await call.send_request()
        assert channel.subchannel._connector.connects == 0
        await assert_no_leaks(channel)


async def test_while_connecting():
    """The deadline holds while there is no connection."""
    async with Channel("memory:1", connector=anyio.sleep_forever) as channel:
        with pytest.raises(RpcError) as raised:
            await EchoStub(channel).unary(b"x", timeout=SOON)
        assert is_late(raised)
        await assert_no_leaks(channel)


async def test_while_waiting_for_a_server_that_is_away():
    """With wait_for_ready too, in TRANSIENT_FAILURE; the error tells why there was no connection."""

    async def refuse():
        raise OSError("away")

    async with Channel("memory:1", connector=refuse) as channel:
        with pytest.raises(RpcError, match="away"):
            await EchoStub(channel).unary(b"x")
        with pytest.raises(RpcError) as raised:
            async with channel.request("/a.B/C", *_unary(), timeout=SOON, wait_for_ready=True) as call:
                await call.send_message(b"x")
        assert raised.value.status is Status.DEADLINE_EXCEEDED
        assert raised.value.message == (
            "Deadline exceeded; there was no connection: cannot connect to memory:1: OSError('away')"
        )
        await assert_no_leaks(channel)


def _unary():
    from grpclib.const import Cardinality

    return Cardinality.UNARY_UNARY, bytes, bytes


async def test_while_waiting_for_a_free_stream():
    """A call behind MAX_CONCURRENT_STREAMS gives up its place when its time is up."""
    service = Sleeping()
    async with in_memory(service, settings=ServerSettings(max_concurrent_streams=1)) as (server, channel, stub):
        async with stub.chat() as first:
            await first.send_request()
            await first.send_message(b"x")
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x", timeout=SOON)
            assert is_late(raised)
            assert not channel.subchannel._waiting
        await assert_no_leaks(server, channel)


async def test_the_earliest_counts():
    """timeout, deadline and the stub's defaults: the earliest of those given to the call."""
    async with in_memory(Sleeping()) as (_, channel, _):
        stub = EchoStub(channel, timeout=LONG)
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", deadline=Deadline.from_timeout(SOON))
        assert is_late(raised)
        stub = EchoStub(channel, deadline=Deadline.from_timeout(LONG))
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=SOON)
        assert is_late(raised)


@pytest.mark.parametrize(
    ("timeout", "low", "high"), [(LONG, "59000m", "60000m"), (1e6, "999990S", "1000000S"), (0.005, None, None)]
)
async def test_the_header(timeout, low, high):
    """grpc-timeout has at most eight digits and a unit, and is not more than what was asked for."""
    seen = []

    async def script(peer):
        await peer.accept()
        seen.append(dict((await peer.read(HeadersFrame)).fields)["grpc-timeout"])
        await peer.until_closed()

    async with scripted(script) as (_, stub):
        call = stub.chat(timeout=timeout)
        try:
            await call.send_request()
            await until(lambda: seen)
        except RpcError:
            assert timeout < SOON  # so short that it may pass before the request is sent
            return
        finally:
            call.close()
    assert len(seen[0]) <= 9
    if low:
        assert (low[-1], len(low) <= len(seen[0]) <= len(high)) == (seen[0][-1], True)
        assert int(low[:-1]) <= int(seen[0][:-1]) <= int(high[:-1])


class Relay(Echo):
    """A handler that calls another service, as it is told to."""

    def __init__(self, relay):
        self.relay = relay

    async def unary(self, request):
        return await self.relay(request)


class Noting(Echo):
    """Notes the seconds that are left for each request."""

    def __init__(self):
        self.remaining = []

    async def unary(self, request):
        deadline = current_call().deadline
        self.remaining.append(None if deadline is None else deadline.time_remaining())
        return request


async def test_calls_inside_a_handler_inherit_the_deadline():
    """The inner call carries what is left; a longer timeout of its own changes nothing, a shorter one counts."""

    async def relay(request):
        await inner_stub.unary(request)
        await inner_stub.unary(request, timeout=2 * LONG)
        return await inner_stub.unary(request, timeout=LONG / 2)

    inner_service = Noting()
    async with in_memory(inner_service) as (_, _, inner_stub), in_memory(Relay(relay)) as (_, _, stub):
        await stub.unary(b"x", timeout=LONG)
    inherited, longer, shorter = inner_service.remaining
    rounded = 0.002  # the header counts in milliseconds, rounded up
    assert LONG / 2 < longer <= inherited + rounded <= LONG + 2 * rounded
    assert 0 < shorter <= LONG / 2 + rounded


async def test_the_outer_deadline_ends_the_inner_call():
    """When the time is up, the caller, the handler, its own call and the handler of that all end."""
    ended = []

    async def relay(request):
        try:
            await inner_stub.unary(b"x")
        finally:
            ended.append("outer")

    async with in_memory(Sleeping()) as (inner, inner_channel, inner_stub):
        async with in_memory(Relay(relay)) as (outer, channel, stub):
            await inner_stub.count(b"0").__anext__()
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x", timeout=5 * SOON)
            assert is_late(raised)
            await assert_no_leaks(outer, channel)
        await assert_no_leaks(inner, inner_channel)
    assert ended in (["outer"], [])  # a busy machine may not even begin in time


async def test_the_inner_timeout_may_be_shorter():
    """An inner call's own shorter timeout counts, and its status is not that of the outer call."""

    async def relay(request):
        with pytest.raises(RpcError) as raised:
            await inner_stub.unary(b"x", timeout=SOON)
        assert is_late(raised)
        return b"survived"

    async with in_memory(Sleeping()) as (_, _, inner_stub), in_memory(Relay(relay)) as (_, _, stub):
        assert await stub.unary(b"x", timeout=LONG) == b"survived"


async def test_detached_calls_do_not_inherit():
    """Inside detached() an inner call has no deadline; after the block it has again."""

    async def relay(request):
        with detached():
            await inner_stub.unary(b"detached")
        return await inner_stub.unary(b"inheriting")

    service = Noting()
    async with in_memory(service) as (_, _, inner_stub), in_memory(Relay(relay)) as (_, _, stub):
        await stub.unary(b"x", timeout=LONG)
        await stub.unary(b"x")
    assert [left is None for left in service.remaining] == [True, False, True, True]


async def test_tasks_of_a_handler_inherit_too():
    """A call made in a task that the handler started inherits the deadline."""

    async def relay(request):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inner_stub.unary, b"x")
        return b""

    service = Noting()
    async with in_memory(service) as (_, _, inner_stub), in_memory(Relay(relay)) as (_, _, stub):
        await stub.unary(b"x", timeout=LONG)
    assert 0 < service.remaining[0] <= LONG + 0.002


async def test_a_deadline_after_the_answer_does_nothing():
    """When the answer is there, the passing of the deadline does not spoil it."""
    async with in_memory() as (server, channel, stub):
        async with stub.chat(timeout=10 * SOON) as call:
            await call.send_message(b"x")
            await call.end()
            await until(lambda: call._attempt.stream.ended)
            assert await call.recv_message() == b"x"
            assert await call.recv_message() is None
            await anyio.sleep_until(call._attempt.deadline)
            await turns(5)
            assert await call.recv_message() is None
        await assert_no_leaks(server, channel)


async def test_a_handler_that_ignores_its_deadline():
    """A handler that shields itself is answered for at once, and may finish later without harm."""
    gate, begun, done = anyio.Event(), [], []

    class Stubborn(Echo):
        async def unary(self, request):
            begun.append(request)
            with anyio.move_on_after(5, shield=True):
                await gate.wait()
            done.append(request)
            return request

    async with in_memory(Stubborn()) as (server, channel, stub):
        channel.timers = Timers()  # which nobody runs
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=SOON)
        assert is_late(raised)
        assert not done
        gate.set()
        await assert_no_leaks(server, channel)
        assert done == begun


async def test_connect_timeout():
    """A server that accepts and says nothing: UNAVAILABLE after connect_timeout, saying so."""

    async def script(peer):
        await peer.until_closed()

    async with scripted(script, settings=ChannelSettings(connect_timeout=SOON)) as (_, stub):
        with pytest.raises(RpcError, match=r"no HTTP/2 connection to memory:1 within 0.03 s") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
