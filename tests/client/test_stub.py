"""The helpers under generated stubs, and misuse of calls."""

import anyio
import pytest

from echo import Echo, EchoStub
from memory import in_memory
from orbit_net.client import ResponseStream
from orbit_net.errors import EncodeError, LocalProtocolError, RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio


class Asking(Echo):
    """Tells the caller what arrived with the call."""

    async def unary(self, request):
        call = current_call()
        return repr((sorted(call.metadata.items()), call.deadline is not None)).encode()

    async def sum(self, requests):
        return await self.unary(b"")

    async def count(self, request):
        yield await self.unary(request)

    async def chat(self, stream):
        await stream.send_message(await self.unary(b""))


async def all_kinds(stub, **options):
    """Make a call of each kind and return the distinct answers."""
    answers = {await stub.unary(b"", **options), await stub.sum([], **options)}
    answers |= {message async for message in stub.count(b"", **options)}
    async with stub.chat(**options) as call:
        await call.send_request(end=True)
        answers.add(await call.recv_message())
    return answers


async def test_defaults_of_a_stub():
    """timeout and metadata of the stub hold for every kind of call, unless the call says otherwise."""
    async with in_memory(Asking()) as (_, channel, stub):
        assert await all_kinds(stub) == {b"([], False)"}
        with_defaults = EchoStub(channel, timeout=60, metadata={"x-a": "1"})
        assert await all_kinds(with_defaults) == {b"([('x-a', '1')], True)"}
        assert await all_kinds(with_defaults, metadata=[("x-b", "2")]) == {b"([('x-b', '2')], True)"}


async def test_requests_of_every_sort():
    """Client streaming takes lists, generators and async generators."""

    async def asynchronous():
        for number in (b"1", b"2"):
            yield number

    async with in_memory() as (_, _, stub):
        assert await stub.sum([b"1", b"2"]) == b"3"
        assert await stub.sum(number for number in (b"1", b"2")) == b"3"
        assert await stub.sum(asynchronous()) == b"3"
        assert await stub.sum(()) == b"0"


async def test_requests_that_fail():
    """What the request iterator raises comes out of the call as itself, and the server's handler is cancelled."""
    error, ended = KeyError("mine"), []

    class Reading(Echo):
        async def sum(self, requests):
            try:
                return await super().sum(requests)
            finally:
                ended.append(1)

    async def requests():
        yield b"1"
        raise error

    async with in_memory(Reading()) as (server, channel, stub):
        with pytest.raises(KeyError) as raised:
            await stub.sum(requests())
        assert raised.value is error
        await assert_no_leaks(server, channel)


async def test_a_server_that_answers_before_the_requests_end():
    """The answer of a client-streaming call may come early; the rest is not wanted, and the iteration stops soon."""

    class Early(Echo):
        async def sum(self, requests):
            return await anext(requests)

    async with in_memory(Early()) as (server, channel, stub):
        assert await stub.sum(b"%d" % number for number in range(10_000)) == b"0"
        await assert_no_leaks(server, channel)


async def test_a_server_that_refuses_before_the_requests_end():
    """A status that comes early is raised by the sending, without waiting for the iterator's end."""

    class Refusing(Echo):
        async def sum(self, requests):
            current_call().abort(Status.PERMISSION_DENIED, "not you")

    async def endless():
        while True:
            yield b"1"

    async with in_memory(Refusing()) as (server, channel, stub):
        with pytest.raises(RpcError, match="not you") as raised:
            await stub.sum(endless())
        assert raised.value.status is Status.PERMISSION_DENIED
        await assert_no_leaks(server, channel)


async def test_start_sender():
    """Messages are sent by a task of the channel while this one receives; what the iterable raises comes out here."""
    error = KeyError("mine")

    def failing():
        yield b"1"
        raise error

    async with in_memory() as (server, channel, stub):
        async with stub.chat() as call:
            call.start_sender([b"%d" % number for number in range(200)])
            assert [message async for message in call] == [b"%d" % number for number in range(200)]
        with pytest.raises(KeyError) as raised:
            async with stub.chat() as call:
                call.start_sender(failing())
                async for _ in call:
                    pass
        assert raised.value is error
        await assert_no_leaks(server, channel)


async def test_a_sender_is_stopped_with_its_call():
    """An endless iterable ends with the call, and its generator is closed."""
    closed = []

    async def endless():
        try:
            while True:
                yield b"x" * 1_000
        finally:
            closed.append(1)

    async with in_memory() as (server, channel, stub):
        async with stub.chat() as call:
            call.start_sender(endless())
            assert await call.recv_message()
        await until(lambda: closed)
        await assert_no_leaks(server, channel)


async def test_a_response_stream():
    """It is an async iterator and an async context manager, and shows the metadata."""
    async with in_memory() as (server, channel, stub):
        replies = stub.count(b"2")
        assert isinstance(replies, ResponseStream)
        assert replies.initial_metadata is None
        assert replies.trailing_metadata is None
        async with replies:
            assert await replies.__anext__() == b"0"
            assert replies.initial_metadata == {}
            assert [message async for message in replies] == [b"1"]
            assert replies.trailing_metadata == {}
        assert [message async for message in stub.count(b"0")] == []
        await assert_no_leaks(server, channel)


async def test_a_response_stream_that_is_never_used():
    """Nothing is sent, and nothing has to be closed."""
    async with in_memory() as (_, channel, stub):
        stub.count(b"2")
        assert channel.subchannel._connector.connects == 0


async def test_after_the_end_of_a_response_stream():
    """Asking again after the end is the end again."""
    async with in_memory() as (_, _, stub):
        replies = stub.count(b"1")
        assert await replies.__anext__() == b"0"
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await replies.__anext__()


async def test_misuse_of_a_unary_call():
    """Operations in the wrong order raise LocalProtocolError that says why, and the call goes on."""
    from grpclib.const import Cardinality

    async with in_memory() as (server, channel, _):
        async with channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            with pytest.raises(LocalProtocolError, match="needs its message"):
                await call.recv_message()
            with pytest.raises(LocalProtocolError, match="one message before its end"):
                await call.send_request(end=True)
            with pytest.raises(LocalProtocolError):
                await call.end()
            await call.send_request()
            with pytest.raises(LocalProtocolError, match="already sent"):
                await call.send_request()
            with pytest.raises(LocalProtocolError, match="one message before its end"):
                await call.end()
            await call.send_message(b"x")
            with pytest.raises(LocalProtocolError, match="already sent"):
                await call.send_message(b"y")
            assert await call.recv_message() == b"x"
        await assert_no_leaks(server, channel)


async def test_misuse_of_a_streaming_call():
    """Nothing can be sent after the end."""
    async with in_memory() as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            for operation in (call.send_message(b"y"), call.end()):
                with pytest.raises(LocalProtocolError, match="already ended"):
                    await operation
            assert await call.recv_message() == b"x"
            assert await call.recv_message() is None
        await assert_no_leaks(server, channel)


async def test_a_message_that_cannot_be_encoded():
    """EncodeError leaves a full-duplex call as it was."""

    class Picky:
        def encode(self, message, message_type):
            if not isinstance(message, bytes):
                raise EncodeError("not bytes")
            return message

        def decode(self, data, message_type):
            return data

    async with in_memory() as (server, channel, stub):
        channel.codec = Picky()
        async with stub.chat() as call:
            with pytest.raises(EncodeError):
                await call.send_message("text")
            await call.send_message(b"x")
            assert await call.recv_message() == b"x"
            await call.end()
        with pytest.raises(EncodeError):
            await stub.unary("text")
        await assert_no_leaks(server, channel)


async def test_the_status_is_raised_on_leaving():
    """A call whose end was sent waits for its status on leaving the block, and raises it."""

    class Failing(Echo):
        async def sum(self, requests):
            async for _ in requests:
                pass
            current_call().abort(Status.ABORTED, "late")

    from grpclib.const import Cardinality

    async with in_memory(Failing()) as (server, channel, _):
        with pytest.raises(RpcError, match="late"):
            async with channel.request("/test.Echo/Sum", Cardinality.STREAM_UNARY, bytes, bytes) as call:
                await call.send_message(b"x", end=True)
        await assert_no_leaks(server, channel)


async def test_many_messages_by_several_senders():
    """Any number of tasks may send on one call; each message arrives whole."""
    async with in_memory() as (server, channel, stub):
        async with stub.chat() as call:
            async with anyio.create_task_group() as tasks:

                async def send(letter):
                    for _ in range(50):
                        await call.send_message(letter * 5_000)

                got = []

                async def receive():
                    while len(got) < 200:
                        got.append(await call.recv_message())

                tasks.start_soon(receive)
                for letter in (b"a", b"b", b"c", b"d"):
                    tasks.start_soon(send, letter)
            await call.end()
        assert sorted(got) == sorted(letter * 5_000 for letter in (b"a", b"b", b"c", b"d") for _ in range(50))
        await assert_no_leaks(server, channel)


async def test_a_sender_whose_iterable_leaks_a_cancellation(anyio_backend):
    """On asyncio that is the error of the call, and the channel goes on."""
    if anyio_backend == "trio":
        return  # nobody can make a Cancelled there

    async def careless():
        yield b"1"
        raise anyio.get_cancelled_exc_class()

    async with in_memory() as (server, channel, stub):
        with pytest.raises(RuntimeError, match="foreign cancellation"):
            async with stub.chat() as call:
                call.start_sender(careless())
                async for _ in call:
                    pass
        assert await stub.unary(b"x") == b"x"
        await assert_no_leaks(server, channel)
