"""How a call ends when its handler does not simply answer."""

import logging

import anyio
import pytest
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import Channel
from orbit_net.details import ErrorInfo, RetryInfo
from orbit_net.errors import LocalProtocolError, OrbitError, RpcError
from orbit_net.server import Server, current_call
from orbit_net.status import Status
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio

SECRET = "the password is swordfish"
HIDDEN = "Internal Server Error"


class Ending(Echo):
    """Runs ``end`` in the handler of every kind."""

    def __init__(self, end):
        self.end = end

    async def unary(self, request):
        return await self.end()

    async def count(self, request):
        yield b"first"
        await self.end()

    async def sum(self, requests):
        return await self.end()

    async def chat(self, stream):
        await stream.send_message(b"first")
        await self.end()


async def outcome(end, kind="unary", *, message=None, caplog=None):
    """Call a handler that ends with ``end()`` and return the error that the client gets."""
    async with in_memory(Ending(end)) as (server, channel, stub):
        with pytest.raises(RpcError) as raised:
            if kind == "unary":
                await stub.unary(b"x")
            elif kind == "count":
                assert [m async for m in stub.count(b"x")] == []
            elif kind == "sum":
                await stub.sum([b"x"])
            else:
                async with stub.chat() as call:
                    await call.send_request()
                    assert await call.recv_message() == b"first"
                    await call.recv_message()
        await assert_no_leaks(server, channel)
    return raised.value


@pytest.mark.parametrize("kind", ["unary", "count", "sum", "chat"])
async def test_a_grpc_error_is_the_answer(kind):
    """Status, text and details of a GRPCError reach the client unchanged, from every kind of handler."""

    async def end():
        raise GRPCError(Status.FAILED_PRECONDITION, "nät %\n", b"\0details")

    error = await outcome(end, kind)
    assert (error.status, error.message, error.details) == (Status.FAILED_PRECONDITION, "nät %\n", b"\0details")


@pytest.mark.parametrize("kind", ["unary", "count", "sum", "chat"])
async def test_any_exception_is_unknown_and_logged(kind, caplog):
    """The client gets UNKNOWN without the text; the log has it with the traceback and the method."""

    async def end():
        raise KeyError(SECRET)

    with caplog.at_level(logging.ERROR, "orbit_net.server"):
        error = await outcome(end, kind)
    assert (error.status, error.message, error.details) == (Status.UNKNOWN, HIDDEN, None)
    [record] = caplog.records
    assert "/test.Echo/" in record.getMessage()
    assert SECRET in caplog.text


async def test_a_status_from_downstream_is_not_ours(caplog):
    """An RpcError that escapes a handler is UNKNOWN, whatever it says, and is logged."""

    async def end():
        raise RpcError(Status.NOT_FOUND, SECRET)

    error = await outcome(end)
    assert (error.status, error.message) == (Status.UNKNOWN, HIDDEN)
    assert SECRET in caplog.text


async def test_abort_passes_a_status_on():
    """abort() ends the call with what it is given, trailing metadata too."""

    async def end():
        try:
            raise RpcError(Status.NOT_FOUND, "downstream", b"why")
        except RpcError as error:
            current_call().abort(error.status, error.message, error.details, metadata={"x-from": "below"})

    error = await outcome(end)
    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "downstream", b"why")
    assert dict(error.trailing_metadata) == {"x-from": "below"}


async def test_abort_with_ok_is_a_mistake(caplog):
    """abort(OK) raises LocalProtocolError in the handler."""

    async def end():
        current_call().abort(Status.OK)

    error = await outcome(end)
    assert error.status is Status.UNKNOWN
    assert "status other than OK" in caplog.text


async def test_a_raised_ok_is_a_mistake(caplog):
    """A GRPCError with the status OK is UNKNOWN: it did not answer."""

    async def end():
        raise GRPCError(Status.OK)

    assert (await outcome(end)).status is Status.UNKNOWN
    assert "status OK" in caplog.text


async def test_a_grpc_error_inside_a_task_group():
    """A handler's own task group wraps the error; the client gets it unwrapped, however deep it is."""

    async def fail():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(raising)
            await anyio.sleep_forever()

    async def raising():
        raise GRPCError(Status.ABORTED, "inner")

    async def end():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            await anyio.sleep_forever()

    error = await outcome(end)
    assert (error.status, error.message) == (Status.ABORTED, "inner")


async def test_a_group_of_several_errors_is_unknown(caplog):
    """Two errors are no answer: UNKNOWN, and both are in the log."""

    async def end():
        raise ExceptionGroup("several", [GRPCError(Status.ABORTED, "one"), KeyError("two")])

    assert (await outcome(end)).status is Status.UNKNOWN
    assert "one" in caplog.text
    assert "two" in caplog.text


@pytest.mark.parametrize(
    "error", [TimeoutError, OSError, OrbitError, LocalProtocolError, anyio.EndOfStream, StopIteration]
)
async def test_exceptions_that_mean_something_to_us(error, caplog):
    """Exceptions that the runtime itself knows are UNKNOWN too when they come from a handler."""

    class Answering(Echo):
        async def unary(self, request):
            raise error(SECRET) if error is not StopIteration else KeyError(SECRET)

    async with in_memory(Answering()) as (_, _, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNKNOWN
        assert raised.value.message == HIDDEN


@pytest.mark.parametrize("kind", ["unary", "sum"])
async def test_a_handler_that_sends_nothing(kind, caplog):
    """A unary answer is due: UNKNOWN, and the log says what is missing."""

    class Silent(Echo):
        def __mapping__(self):
            mapping = super().__mapping__()
            return {path: handler._replace(func=self.silent) for path, handler in mapping.items()}

        async def silent(self, stream):
            await stream.recv_message()

    async with in_memory(Silent()) as (_, _, stub):
        with pytest.raises(RpcError) as raised:
            await (stub.unary(b"x") if kind == "unary" else stub.sum([b"x"]))
        assert raised.value.status is Status.UNKNOWN
        assert "without sending its one message" in caplog.text
        assert [m async for m in stub.count(b"1")] == []  # no message is fine for a stream


async def test_misuse_of_a_server_stream():
    """Sending twice, after the end, or OK without a message raises LocalProtocolError and leaves the call as it was."""
    mistakes = []

    class Careless(Echo):
        def __mapping__(self):
            mapping = super().__mapping__()
            path = "/test.Echo/Unary"
            return mapping | {path: mapping[path]._replace(func=self.careless)}

        async def careless(self, stream):
            async def expect(call, **arguments):
                with pytest.raises(LocalProtocolError) as raised:
                    await call(**arguments)
                mistakes.append(str(raised.value))

            await expect(stream.send_trailing_metadata)
            await stream.send_initial_metadata()
            await expect(stream.send_initial_metadata)
            await stream.send_message(b"answer")
            await expect(stream.send_message, message=b"second")
            await stream.send_trailing_metadata()
            await expect(stream.send_message, message=b"late")
            await expect(stream.send_trailing_metadata)
            await expect(stream.send_initial_metadata)

    async with in_memory(Careless()) as (_, _, stub):
        assert await stub.unary(b"x") == b"answer"
    assert mistakes == [
        "/test.Echo/Unary must answer with one message before it ends with OK",
        "the initial metadata was already sent",
        "/test.Echo/Unary answers with one message, and it was already sent",
        "the call was already answered",
        "the call was already answered",
        "the initial metadata was already sent",
    ]


async def test_details_that_cannot_be_encoded(caplog):
    """Details that are not bytes are left out and logged: the status is worth more."""

    async def end():
        raise GRPCError(Status.ABORTED, "x", object())

    error = await outcome(end)
    assert (error.status, error.details) == (Status.ABORTED, None)
    assert "details" in caplog.text


async def test_messages_as_details():
    """Messages are sent as a google.rpc.Status; the client has its bytes, and reads them when asked."""
    details = [ErrorInfo(reason="WHY", domain="test"), RetryInfo()]

    async def end():
        current_call().abort(Status.ABORTED, "x", details)

    error = await outcome(end)
    assert isinstance(error.details, bytes)
    assert error.rich_details == details
    assert error.detail(RetryInfo) == RetryInfo()

    async def end():
        raise GRPCError(Status.ABORTED, "x", b"no such thing")

    error = await outcome(end)
    assert (error.details, error.rich_details) == (b"no such thing", [])


async def test_details_that_are_too_large(caplog):
    """Details for which the client has no room in its trailers are left out and logged: the status arrives."""

    async def end():
        current_call().abort(Status.ABORTED, "x", [ErrorInfo(reason="x" * 20_000)])

    error = await outcome(end)
    assert (error.status, error.message, error.details) == (Status.ABORTED, "x", None)
    assert "the status details of /test.Echo/Unary could not be sent" in caplog.text


async def test_a_status_details_codec():
    """With grpclib's codec shape on both sides, details are whatever the codec makes of them."""

    class Details:
        def encode(self, status, message, details):
            return repr(details).encode()

        def decode(self, status, message, data):
            return status, data

    async def end():
        raise GRPCError(Status.ABORTED, "x", {"a": 1})

    async with Server([Ending(end)], codec=RawCodec(), status_details_codec=Details()) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target, codec=RawCodec(), status_details_codec=Details()) as channel:
            with pytest.raises(RpcError) as raised:
                await EchoStub(channel).unary(b"x")
    assert raised.value.details == (Status.ABORTED, b"{'a': 1}")


async def test_unknown_paths():
    """UNIMPLEMENTED, naming the method, with a request of any kind; the connection goes on."""
    async with in_memory() as (server, channel, stub):
        for cardinality in Cardinality:
            call = channel.request("/test.Echo/Missing", cardinality, bytes, bytes)
            with pytest.raises(RpcError) as raised:
                async with call:
                    await call.send_message(b"x" * 100_000)
                    await call.recv_message()
            assert (raised.value.status, raised.value.message) == (
                Status.UNIMPLEMENTED,
                "Method not found: /test.Echo/Missing",
            )
        assert await stub.unary(b"x") == b"x"
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(server, channel)


async def test_a_status_without_text():
    """No text stays no text."""

    async def end():
        raise GRPCError(Status.ABORTED)

    error = await outcome(end)
    assert error.message is None
    assert str(error) == "ABORTED"
    assert not error.retryable


async def test_handler_cancel():
    """A handler that resets its call: the client sees CANCELLED."""

    async def end():
        await current_call().cancel()
        return b"late"

    assert (await outcome(end)).status is Status.CANCELLED


async def test_messages_before_the_error_are_delivered():
    """What was sent before the status is read before the status is raised."""

    class Breaking(Echo):
        async def count(self, request):
            yield b"1"
            yield b"2"
            raise GRPCError(Status.DATA_LOSS, "the rest is gone")

    async with in_memory(Breaking()) as (_, _, stub):
        got = []
        with pytest.raises(RpcError) as raised:
            async for message in stub.count(b"x"):
                got.append(message)  # noqa: PERF401 - the error is what ends the loop
        assert got == [b"1", b"2"]
        assert raised.value.status is Status.DATA_LOSS


async def test_a_cancellation_that_nobody_asked_for(caplog, anyio_backend):
    """On asyncio a handler may await something that was cancelled: UNKNOWN for its call, and the server goes on."""
    if anyio_backend == "trio":
        return  # nobody can make a Cancelled there

    class Careless(Echo):
        async def unary(self, request):
            if request == b"careless":
                raise anyio.get_cancelled_exc_class()
            return request

    async with in_memory(Careless()) as (server, channel, stub):
        for _ in range(3):
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"careless")
            assert (raised.value.status, raised.value.message) == (Status.UNKNOWN, HIDDEN)
            assert await stub.unary(b"x") == b"x"
        assert channel.subchannel._connector.connects == 1
        assert "foreign cancellation" in caplog.text
        await assert_no_leaks(server, channel)
