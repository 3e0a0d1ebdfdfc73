"""Interceptors around the opening of calls: order, changes, refusals, hooks, cancellation."""

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from checkpoints import at_every_checkpoint
from echo import Echo
from listening import counting, tracing
from memory import in_memory
from orbit_net.errors import ConfigurationError, LocalProtocolError, RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from rawpeer import OK_HEADERS, scripted
from settle import assert_no_leaks, connections_of

pytestmark = pytest.mark.anyio

CHAT = "/test.Echo/Chat"


async def test_the_first_is_outermost():
    """Requests pass in the order of the list, replies and the end in reverse, and messages may be replaced."""
    seen = []
    async with in_memory(interceptors=[tracing("a", seen), tracing("b", seen)]) as (server, channel, stub):
        assert await stub.unary(b"x") == b"xabba"
        await assert_no_leaks(server, channel)
    assert seen == [
        *["a before", "b before", "b after", "a after"],
        *["a sends x", "b sends xa", "b receives xab", "a receives xabb"],
        *["b ends OK", "a ends OK"],
    ]


async def test_all_kinds_of_call():
    """Each message of each kind passes, and each call ends once."""
    counts = {}

    async def numbers():
        for number in (b"1", b"2"):
            yield number

    async with in_memory(interceptors=[counting(counts)]) as (server, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert [reply async for reply in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2"]) == b"3"
        assert await stub.sum(numbers()) == b"3"
        async with stub.chat() as call:
            for message in (b"a", b"b"):
                await call.send_message(message)
                assert await call.recv_message() == message
            await call.end()
            assert await call.recv_message() is None
        await assert_no_leaks(server, channel)
    assert counts == {
        "/test.Echo/Unary": ([b"x"], [b"x"], [Status.OK]),
        "/test.Echo/Count": ([b"3"], [b"0", b"1", b"2"], [Status.OK]),
        "/test.Echo/Sum": ([b"1", b"2"] * 2, [b"3"] * 2, [Status.OK] * 2),
        CHAT: ([b"a", b"b"], [b"a", b"b"], [Status.OK]),
    }


class Told(Echo):
    """Answers with what the call came with."""

    async def unary(self, request):
        call = current_call()
        left = None if call.deadline is None else round(call.deadline.time_remaining())
        return repr((sorted(call.metadata.items()), left)).encode()


async def test_metadata_and_deadline_can_be_changed():
    """What an interceptor sets is sent; what the caller gave is seen."""
    seen = []

    async def changing(call, proceed):
        seen.append((dict(call.metadata), call.deadline is None, call.peer, repr(call)))
        call.metadata.add("x-key", "2")
        call.metadata["x-bin"] = b"\xff"
        call.deadline = Deadline.from_timeout(600)
        await proceed(call)
        with pytest.raises(LocalProtocolError, match="until the call is sent"):
            call.deadline = Deadline.from_timeout(1)
        seen.append((call.peer is not None, repr(call)))

    async with in_memory(Told(), interceptors=[changing]) as (_, _, stub):
        reply = await stub.unary(b"", metadata={"x-key": "1"})
        assert reply == repr(([("x-bin", b"\xff"), ("x-key", "1"), ("x-key", "2")], 600)).encode()
    assert seen == [
        ({"x-key": "1"}, True, None, "<OutgoingCall /test.Echo/Unary new>"),
        (True, "<OutgoingCall /test.Echo/Unary sent>"),
    ]


async def test_metadata_that_cannot_be_sent():
    """It is refused where the chain ends, and nothing is sent."""

    async def wrong(call, proceed):
        call.metadata["grpc-mine"] = "x"
        await proceed(call)

    async with in_memory(interceptors=[wrong]) as (_, channel, stub):
        with pytest.raises(LocalProtocolError, match="grpc-mine"):
            await stub.unary(b"")
        assert not connections_of(channel)


class _Mine(Exception):
    """An exception of the user's own."""


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (RpcError(Status.PERMISSION_DENIED, "no"), RpcError, Status.PERMISSION_DENIED),
        (GRPCError(Status.NOT_FOUND, "no", b"details"), RpcError, Status.NOT_FOUND),
        (GRPCError(Status.OK), RpcError, Status.INTERNAL),
        (_Mine("no"), _Mine, Status.UNKNOWN),
    ],
)
async def test_refusing(error, kind, status):
    """The caller gets the error, whatever the kind of call; the ones outside see it, and nothing is sent."""
    seen = []

    async def outer(call, proceed):
        call.on_end(lambda status, text: seen.append(status))
        with pytest.raises(type(error)):
            await proceed(call)
        raise error

    async def refusing(call, proceed):
        raise error

    async with in_memory(interceptors=[outer, refusing]) as (_, channel, stub):
        with pytest.raises(kind) as caught:
            await stub.unary(b"")
        if kind is RpcError:
            assert caught.value.status is status
            assert caught.value.details == getattr(error, "details", None)
        with pytest.raises(kind):
            [reply async for reply in stub.count(b"1")]
        with pytest.raises(kind):
            await stub.sum([b"1"])
        async with stub.chat() as call:
            for operation in (call.send_request, call.recv_message, call.recv_initial_metadata):
                with pytest.raises(kind):
                    await operation()
        await assert_no_leaks(channel)
        assert not connections_of(channel)
    assert seen == [status] * 4


async def test_an_interceptor_that_neither_goes_on_nor_refuses():
    """INTERNAL, and nothing is sent."""

    async def idle(call, proceed):
        await checkpoint()

    async with in_memory(interceptors=[idle]) as (_, channel, stub):
        with pytest.raises(RpcError, match="neither went on nor refused") as caught:
            await stub.unary(b"")
        assert caught.value.status is Status.INTERNAL
        assert not connections_of(channel)


async def test_going_on_twice():
    """There is one retry layer, and an interceptor is not it."""

    async def twice(call, proceed):
        await proceed(call)
        await proceed(call)

    async with in_memory(interceptors=[twice]) as (server, channel, stub):
        with pytest.raises(LocalProtocolError, match="went on twice"):
            await stub.unary(b"")
        await assert_no_leaks(server, channel)


async def test_an_error_after_going_on_ends_the_call():
    """The call that was sent is cancelled at the server."""
    cancelled = anyio.Event()

    class Waiting(Echo):
        async def chat(self, stream):
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    async def late(call, proceed):
        await proceed(call)
        raise _Mine

    async with in_memory(Waiting(), interceptors=[late]) as (server, channel, stub):
        async with stub.chat() as call:
            with pytest.raises(_Mine):
                await call.send_request()
            with pytest.raises(_Mine):
                await call.recv_message()
        await assert_no_leaks(server, channel)


async def test_no_connection():
    """UNAVAILABLE comes out of ``next``."""
    seen = []

    async def watching(call, proceed):
        call.on_end(lambda status, text: seen.append(status))
        try:
            await proceed(call)
        except RpcError as error:
            seen.append(error.status)
            raise

    async def connector():
        raise OSError("no route")

    from echo import EchoStub, RawCodec
    from orbit_net.client import Channel

    async with Channel("memory:1", codec=RawCodec(), connector=connector, interceptors=[watching]) as channel:
        with pytest.raises(RpcError, match="no route"):
            await EchoStub(channel).unary(b"")
    assert seen == [Status.UNAVAILABLE] * 2


async def test_the_deadline_holds_over_the_interceptors():
    """One that waits for ever ends with the call's deadline, whether the caller or another interceptor set it."""
    seen = []

    async def setting(call, proceed):
        if call.deadline is None:
            call.deadline = Deadline.from_timeout(0.05)
        call.on_end(lambda status, text: seen.append(status))
        await proceed(call)

    async def stuck(call, proceed):
        await anyio.sleep_forever()

    async with in_memory(interceptors=[setting, stuck]) as (_, channel, stub):
        for options in ({}, {"timeout": 0.05}):
            with pytest.raises(RpcError) as caught:
                await stub.unary(b"", **options)
            assert caught.value.status is Status.DEADLINE_EXCEEDED
        await assert_no_leaks(channel)
    assert seen == [Status.DEADLINE_EXCEEDED] * 2


async def test_the_deadline_of_an_interceptor_holds_for_the_call():
    """It is sent, enforced, and told to the hooks."""
    seen = []

    class Waiting(Echo):
        async def unary(self, request):
            await anyio.sleep_forever()

    async def setting(call, proceed):
        call.deadline = Deadline.from_timeout(0.05)
        call.on_end(lambda status, text: seen.append(status))
        await proceed(call)

    async with in_memory(Waiting(), interceptors=[setting]) as (server, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        await assert_no_leaks(server, channel)
    assert seen == [Status.DEADLINE_EXCEEDED]


async def test_cancel_and_close_stop_the_interceptors():
    """A call that is ended by another task does not go on opening."""

    async def stuck(call, proceed):
        begun.set()
        await anyio.sleep_forever()

    async with in_memory(interceptors=[stuck]) as (_, channel, stub):
        for end in ("cancel", "close"):
            begun = anyio.Event()
            call = stub.chat()

            async def open_it(call=call):
                with pytest.raises(RpcError) as caught:
                    await call.send_request()
                assert caught.value.status is Status.CANCELLED

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(open_it)
                await begun.wait()
                if end == "cancel":
                    await call.cancel()
                else:
                    call.close()
            call.close()
        await assert_no_leaks(channel)


async def test_cancellation_at_every_checkpoint():
    """A call that is cancelled while it opens is over, is told to its hooks once, and leaves nothing behind."""

    async def slow(call, proceed):
        call.on_end(lambda status, text: ended.append(status))
        hooks.append(call)
        await checkpoint()
        await checkpoint()
        await proceed(call)
        await checkpoint()

    async with in_memory(interceptors=[slow, slow]) as (server, channel, stub):

        async def scenario(knife):
            ended.clear()
            hooks.clear()
            async with stub.chat() as call:
                await knife(call.send_message, b"x")
                if not knife.cut:
                    assert await call.recv_message() == b"x"
                elif not call.sent:
                    with pytest.raises(RpcError) as caught:
                        await call.recv_message()
                    assert caught.value.status is Status.CANCELLED
            assert ended == [Status.CANCELLED] * len(hooks)
            assert await stub.unary(b"y") == b"y"
            await assert_no_leaks(server, channel)

        ended, hooks = [], []
        assert await at_every_checkpoint(scenario, least=4) >= 4


async def test_two_tasks_open_one_call():
    """A task that receives waits for the interceptors that another one started, which run once."""
    runs = []

    async def slow(call, proceed):
        runs.append(call)
        await go.wait()
        call.metadata["x-key"] = "v"
        await proceed(call)

    class Keyed(Echo):
        async def chat(self, stream):
            await stream.send_message(stream.metadata["x-key"].encode())

    go = anyio.Event()
    async with in_memory(Keyed(), interceptors=[slow]) as (_, _, stub):
        async with stub.chat() as call, anyio.create_task_group() as tasks:
            tasks.start_soon(call.send_message, b"x")

            async def receive():
                assert await call.recv_message() == b"v"

            tasks.start_soon(receive)
            for _ in range(20):
                await checkpoint()
            go.set()
        assert len(runs) == 1


@pytest.mark.parametrize("how", ["leave", "status", "break", "raise"])
async def test_the_end_is_told(how):
    """By the status of the server; CANCELLED for a call that was left early."""
    seen = []

    class Failing(Echo):
        async def count(self, request):
            yield b"1"
            raise GRPCError(Status.DATA_LOSS, "lost")

    async def watching(call, proceed):
        call.on_end(lambda status, text: seen.append((status.name, text)))
        await proceed(call)

    async with in_memory(Failing(), interceptors=[watching]) as (server, channel, stub):
        if how == "leave":
            async with stub.chat() as call:
                await call.send_message(b"x")
            expected = ("CANCELLED", "the call was left before its end")
        elif how == "status":
            with pytest.raises(RpcError):
                [reply async for reply in stub.count(b"1")]
            expected = ("DATA_LOSS", "lost")
        elif how == "break":
            async with stub.chat() as call:
                await call.send_message(b"x")
                assert await call.recv_message() == b"x"
            expected = ("CANCELLED", "the call was left before its end")
        else:
            with pytest.raises(_Mine):
                async with stub.chat() as call:
                    await call.send_message(b"x")
                    raise _Mine
            expected = ("CANCELLED", "the call was left before its end")
        await assert_no_leaks(server, channel)
    assert seen == [expected]


async def test_hooks_that_fail(caplog):
    """A message hook's error reaches the caller; an on_end hook's is logged, and the next one is told all the same."""
    seen = []

    async def refuse(message):
        if message == b"bad":
            raise _Mine
        return message

    async def hooking(call, proceed):
        call.on_send(refuse)
        call.on_end(lambda status, text: seen.append(status))
        call.on_end(lambda status, text: 1 / 0)
        await proceed(call)

    async with in_memory(interceptors=[hooking]) as (server, channel, stub):
        with pytest.raises(_Mine):
            await stub.unary(b"bad")
        assert await stub.unary(b"good") == b"good"
        await assert_no_leaks(server, channel)
    assert seen == [Status.CANCELLED, Status.OK]
    assert caplog.text.count("an on_end hook failed") == 2


async def test_the_trailers_are_there_at_the_end():
    """A hook may look at the trailing metadata."""
    seen = []

    class Trailing(Echo):
        async def unary(self, request):
            current_call().set_trailing_metadata({"x-cost": "3"})
            return request

    async def watching(call, proceed):
        assert call.trailing_metadata is None
        call.on_end(lambda status, text: seen.append(call.trailing_metadata["x-cost"]))
        await proceed(call)

    async with in_memory(Trailing(), interceptors=[watching]) as (_, _, stub):
        await stub.unary(b"")
    assert seen == ["3"]


async def test_a_call_inside_an_async_generator():
    """No scope is open between two steps of the caller: a generator may hold the call and be dropped (PEP 789)."""

    async def timing(call, proceed):
        with anyio.fail_after(5):
            await proceed(call)

    async with in_memory(interceptors=[timing]) as (server, channel, stub):

        async def replies():
            async with stub.chat() as call:
                while True:
                    await call.send_message(b"x")
                    yield await call.recv_message()

        first, second = replies(), replies()
        with anyio.move_on_after(5):
            assert await anext(first) == b"x"
        assert await anext(second) == b"x"
        await first.aclose()
        assert await anext(second) == b"x"
        await second.aclose()
        await assert_no_leaks(server, channel)


async def test_the_chain_runs_once_over_a_transparent_retry():
    """A stream that is refused is tried again beneath the interceptors (gRFC A6)."""
    runs = []

    async def script(peer):
        await peer.accept()
        stream_id, fields, _ = await peer.request()
        assert fields["x-run"] == "1"
        await peer.send(peer.reset(stream_id, 7))
        stream_id, fields, _ = await peer.request()
        assert fields["x-run"] == "1"
        await peer.respond(stream_id, b"done", headers=OK_HEADERS)

    async def counting(call, proceed):
        runs.append(call)
        call.metadata["x-run"] = str(len(runs))
        await proceed(call)

    async with scripted(script, interceptors=[counting]) as (_, stub):
        assert await stub.unary(b"") == b"done"
    assert len(runs) == 1


async def test_what_is_no_interceptor():
    """It is refused when the channel is made."""
    from orbit_net.client import Channel

    with pytest.raises(ConfigurationError, match="'log' is no interceptor"):
        Channel("localhost:1", interceptors=["log"])


async def test_without_interceptors_there_is_no_chain():
    """Nothing is composed, and a call has no hooks."""
    async with in_memory() as (server, channel, _):
        assert channel.chain is None
        assert server.chain is None
        async with channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"x")
            assert await call.recv_message() == b"x"
            assert call._hooks is None
            assert call._opening is None
