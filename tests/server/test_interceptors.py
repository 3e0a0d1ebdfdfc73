"""Interceptors around handlers: order, refusals, hooks, cancellation, deadlines."""

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from echo import Echo
from listening import counting, tracing
from memory import in_memory
from orbit_net.context import inherited_deadline
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import Server, current_call
from orbit_net.status import Status
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio


async def test_the_first_is_outermost():
    """The handler runs inside; what is received passes in reverse order, what is sent in the order of the list."""
    seen = []
    around = [tracing("a", seen), tracing("b", seen)]
    async with in_memory(server_interceptors=around) as (server, channel, stub):
        assert await stub.unary(b"x") == b"xbaab"
        await assert_no_leaks(server, channel)
    assert seen == [
        *["a before", "b before"],
        *["b receives x", "a receives xb", "a sends xba", "b sends xbaa"],
        *["b after", "a after", "b ends OK", "a ends OK"],
    ]


async def test_the_current_call_is_the_one_that_the_interceptor_has():
    """What a handler finds in the context, its interceptors find there too."""
    same = []

    async def looking(call, proceed):
        same.append(current_call() is call)
        await proceed(call)

    async with in_memory(server_interceptors=[looking]) as (_, _, stub):
        assert await stub.unary(b"x") == b"x"
    assert same == [True]


async def test_all_kinds_of_call():
    """Each message of each kind passes, and each call ends once."""
    counts = {}

    async with in_memory(server_interceptors=[counting(counts)]) as (server, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert [reply async for reply in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2"]) == b"3"
        async with stub.chat() as call:
            for message in (b"a", b"b"):
                await call.send_message(message)
                assert await call.recv_message() == message
            await call.end()
            assert await call.recv_message() is None
        await assert_no_leaks(server, channel)
    assert counts == {
        "/test.Echo/Unary": ([b"x"], [b"x"], [Status.OK]),
        "/test.Echo/Count": ([b"0", b"1", b"2"], [b"3"], [Status.OK]),
        "/test.Echo/Sum": ([b"3"], [b"1", b"2"], [Status.OK]),
        "/test.Echo/Chat": ([b"a", b"b"], [b"a", b"b"], [Status.OK]),
    }


async def calls_of_all_kinds(stub):
    """Give the error of a call of each kind."""
    errors = []
    for call in (
        lambda: stub.unary(b"1"),
        lambda: _list(stub.count(b"1")),
        lambda: stub.sum([b"1"]),
        lambda: _chat(stub),
    ):
        with pytest.raises(RpcError) as caught:
            await call()
        errors.append(caught.value)
    return errors


async def _list(replies):
    return [reply async for reply in replies]


async def _chat(stub):
    async with stub.chat() as call:
        await call.send_message(b"1", end=True)
        return [reply async for reply in call]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (GRPCError(Status.PERMISSION_DENIED, "no"), Status.PERMISSION_DENIED, "no"),
        (RpcError(Status.NOT_FOUND, "elsewhere"), Status.UNKNOWN, "Internal Server Error"),
        (ValueError("secret"), Status.UNKNOWN, "Internal Server Error"),
    ],
)
async def test_refusing(error, status, text):
    """It becomes the status as if the handler had raised it; the handler is not run, and the end is told."""
    seen = []

    async def outer(call, proceed):
        call.on_end(lambda status, text: seen.append((status, text)))
        with pytest.raises(type(error)):
            await proceed(call)
        raise error

    async def refusing(call, proceed):
        raise error

    class Never(Echo):
        async def unary(self, request):
            raise AssertionError

        sum = count = chat = unary

    async with in_memory(Never(), server_interceptors=[outer, refusing]) as (server, channel, stub):
        errors = await calls_of_all_kinds(stub)
        assert [(error.status, error.message) for error in errors] == [(status, text)] * 4
        await assert_no_leaks(server, channel)
    assert seen == [(status, text)] * 4


async def test_the_error_of_a_handler_is_seen():
    """It comes out of ``next``, and another one may take its place."""
    seen = []

    async def translating(call, proceed):
        try:
            await proceed(call)
        except KeyError as error:
            seen.append(error.args)
            call.abort(Status.NOT_FOUND, "no such key")

    class Failing(Echo):
        async def unary(self, request):
            raise KeyError(request)

    async with in_memory(Failing(), server_interceptors=[translating]) as (_, _, stub):
        with pytest.raises(RpcError, match="no such key") as caught:
            await stub.unary(b"k")
    assert caught.value.status is Status.NOT_FOUND
    assert seen == [(b"k",)]


async def test_answering_in_place_of_the_handler():
    """An interceptor that has the answer need not go on."""

    async def cached(call, proceed):
        if call.method.endswith("Unary"):
            await call.recv_message()
            await call.send_message(b"from the cache")
        else:
            await proceed(call)

    async with in_memory(server_interceptors=[cached]) as (_, _, stub):
        assert await stub.unary(b"x") == b"from the cache"
        assert await stub.sum([b"1", b"2"]) == b"3"


async def test_going_on_twice():
    """The handler runs once; the error is UNKNOWN and in the log."""
    runs = []

    async def twice(call, proceed):
        await proceed(call)
        await proceed(call)

    class Counting(Echo):
        async def chat(self, stream):
            runs.append(stream)

    async with in_memory(Counting(), server_interceptors=[twice]) as (_, _, stub):
        with pytest.raises(RpcError) as caught:
            await _chat(stub)
        assert caught.value.status is Status.UNKNOWN
    assert len(runs) == 1


async def test_metadata_and_context_reach_the_handler():
    """What an interceptor changes, or sets in a context variable, the handler sees, and no other call."""
    from contextvars import ContextVar

    variable = ContextVar("variable", default="none")

    async def setting(call, proceed):
        if "x-user" in call.metadata:
            variable.set(call.metadata.pop("x-user"))
        call.set_trailing_metadata({"x-seen": "1"})
        await proceed(call)

    class Told(Echo):
        async def unary(self, request):
            return f"{variable.get()} {sorted(current_call().metadata)}".encode()

    async with in_memory(Told(), server_interceptors=[setting]) as (_, _, stub):
        assert await stub.unary(b"", metadata={"x-user": "ada", "x-b": ""}) == b"ada ['x-b']"
        assert await stub.unary(b"") == b"none []"


async def test_a_cancelled_call():
    """The interceptors are cancelled with the handler, may clean up, and are told CANCELLED."""
    seen = []

    async def watching(call, proceed):
        call.on_end(lambda status, text: seen.append(status))
        try:
            await proceed(call)
        finally:
            seen.append("cleaned up")

    class Waiting(Echo):
        async def chat(self, stream):
            await stream.send_initial_metadata()
            await anyio.sleep_forever()

    async with in_memory(Waiting(), server_interceptors=[watching]) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_initial_metadata()
        await assert_no_leaks(server, channel)
    assert seen == ["cleaned up", Status.CANCELLED]


async def test_a_handler_that_ends_the_call_itself():
    """The end tells the status that was sent, which no exception shows; a reset is CANCELLED."""
    seen = []

    async def watching(call, proceed):
        call.on_end(lambda status, text: seen.append((status, text)))
        await proceed(call)

    class Ending(Echo):
        async def chat(self, stream):
            if await stream.recv_message() == b"reset":
                await stream.cancel()
            else:
                await stream.send_trailing_metadata(status=Status.ABORTED, status_message="enough")

    async with in_memory(Ending(), server_interceptors=[watching]) as (server, channel, stub):
        for word in (b"status", b"reset"):
            async with stub.chat() as call:
                await call.send_message(word)
                with pytest.raises(RpcError):
                    await call.recv_message()
        await assert_no_leaks(server, channel)
    assert seen == [(Status.ABORTED, "enough"), (Status.CANCELLED, "the call was reset by its handler")]


async def test_a_deadline_set_by_an_interceptor():
    """It ends the handler and the call, is inherited, and never later than the client's own."""
    seen = []

    async def setting(call, proceed):
        call.deadline = Deadline.from_timeout(0.05 if call.metadata.get("x-hurry") else 500)
        seen.append(round(call.deadline.time_remaining()))
        assert inherited_deadline.get() == call._until
        await proceed(call)

    class Waiting(Echo):
        async def unary(self, request):
            if not request:
                await anyio.sleep_forever()
            return request

    async with in_memory(Waiting(), server_interceptors=[setting]) as (server, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"", metadata={"x-hurry": "1"})
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert await stub.unary(b"x") == b"x"
        assert await stub.unary(b"x", timeout=300) == b"x"
        assert await stub.unary(b"x", timeout=700) == b"x"
        await assert_no_leaks(server, channel)
    assert seen == [0, 500, 300, 500]


async def test_a_drain_waits_for_the_interceptors():
    """What one does after the handler belongs to the call."""
    done = []
    go = anyio.Event()

    async def slow(call, proceed):
        await proceed(call)
        await go.wait()
        await checkpoint()
        done.append(call.method)

    async with in_memory(server_interceptors=[slow]) as (server, _, stub):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: server._workers.busy)
            tasks.start_soon(server.drain)
            go.set()
        assert done == ["/test.Echo/Unary"]


async def test_what_is_no_interceptor():
    """It is refused when the server is made."""
    with pytest.raises(ConfigurationError, match="no interceptor"):
        Server([], interceptors=[None])
