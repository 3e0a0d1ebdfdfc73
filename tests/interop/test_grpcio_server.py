"""Our client calls a grpcio server."""

from __future__ import annotations

import threading

import anyio
import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status as RichStatus
from grpc_status import rpc_status
from grpclib.const import Cardinality, Status
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError

from echo import Echo, EchoStub, RawCodec
from grpcio_peer import GrpcioEcho, Signal, grpcio_server, in_thread, our_client, our_server
from orbit_net.client import Channel, ChannelSettings, detached
from orbit_net.errors import RpcError
from patience import until_begun
from settle import until

pytestmark = pytest.mark.anyio

MIB = 1_048_576
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


# --- the four kinds --------------------------------------------------------------------------------


async def test_unary():
    """A unary call carries its message and its reply, empty ones too."""
    async with our_client() as (_, stub):
        assert await stub.unary(b"hello") == b"hello"
        assert await stub.unary(b"") == b""


async def test_server_streaming():
    """A server-streaming call gives all replies in order, or none."""
    async with our_client() as (_, stub):
        assert [reply async for reply in stub.count(b"1000")] == [b"%d" % number for number in range(1000)]
        assert [reply async for reply in stub.count(b"0")] == []


async def test_client_streaming():
    """A client-streaming call takes all requests, or none."""
    async with our_client() as (_, stub):
        assert await stub.sum([b"%d" % number for number in range(1000)]) == b"499500"
        assert await stub.sum([]) == b"0"


async def test_full_duplex():
    """A full-duplex call carries requests and replies at once, or none."""
    async with our_client() as (_, stub):
        async with stub.chat() as stream:
            stream.start_sender([b"%d" % number for number in range(1000)])
            assert [reply async for reply in stream] == [b"%d" % number for number in range(1000)]
        async with stub.chat() as stream:
            await stream.send_request(end=True)
            assert await stream.recv_message() is None


async def test_ping_pong():
    """Each request of a full-duplex call depends on the reply before it."""
    async with our_client() as (_, stub), stub.chat() as stream:
        number = 1
        while number < 2**20:
            await stream.send_message(b"%d" % number)
            number = 2 * int(await stream.recv_message())
        await stream.end()
        assert await stream.recv_message() is None


async def test_early_answer():
    """A server that answers a stream before its end ends the call with OK."""

    class Early(GrpcioEcho):
        def chat(self, requests, context):
            yield next(requests)

    async with our_client(Early()) as (_, stub):
        async with stub.chat() as stream:
            await stream.send_message(b"first")
            assert [reply async for reply in stream] == [b"first"]
        assert await stub.unary(b"again") == b"again"


# --- metadata --------------------------------------------------------------------------------------

METADATA = [
    ("key", "one"),
    ("key", "two"),
    ("key-empty", ""),
    ("key-comma", "a, b,c"),
    ("key-punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("key-long", "x" * 2_000),
    ("key-bin", bytes(range(256))),
    ("key-bin", b""),
    ("key-bin", b"\xff"),
    ("key.dots_and-dashes-bin", b"a"),
]


class _Metadata(GrpcioEcho):
    """Sends back what it got, as initial and as trailing metadata."""

    def chat(self, requests, context):
        got = [pair for pair in context.invocation_metadata() if pair[0].startswith("key")]
        agent = dict(context.invocation_metadata())["user-agent"]
        assert agent.startswith("grpc-python-orbit-net/")
        context.send_initial_metadata(got)
        context.set_trailing_metadata(got)
        yield b"here"

    def unary(self, request, context):
        context.set_trailing_metadata([("trailing-bin", b"\xff")])
        context.abort(grpc.StatusCode.ABORTED, "with metadata")


async def test_metadata():
    """Metadata of all sorts survives the way there and back, in headers and in trailers."""
    async with our_client(_Metadata()) as (_, stub), stub.chat(metadata=METADATA) as stream:
        await stream.send_request(end=True)
        await stream.recv_initial_metadata()
        assert await stream.recv_message() == b"here"
        await stream.recv_trailing_metadata()
        for got in (stream.initial_metadata, stream.trailing_metadata):
            assert sorted((key, value) for key, value in got.items() if key.startswith("key")) == sorted(METADATA)


async def test_trailing_metadata_of_an_error():
    """An error that is a trailers-only response carries trailing metadata, and has no initial metadata."""
    async with our_client(_Metadata()) as (_, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        assert caught.value.trailing_metadata["trailing-bin"] == b"\xff"
        async with stub.channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes) as stream:
            await stream.send_message(b"", end=True)
            with pytest.raises(GRPCError, match="with metadata"):
                await stream.recv_initial_metadata()
            assert not stream.initial_metadata


# --- statuses --------------------------------------------------------------------------------------

MESSAGES = ["", "plain", "100 %", "%41%", "täxt €uro 🐍", "line\nbreak\r\n\t", " blanks ", "\x01\x1f\x7f"]


async def test_status_codes_and_messages():
    """Every status but OK, and messages of all sorts, reach the caller unchanged."""
    codes = {code.value[0]: code for code in grpc.StatusCode}

    class Failing(GrpcioEcho):
        def unary(self, request, context):
            number, _, text = request.decode().partition(":")
            context.abort(codes[int(number)], text)

    async def error(status, text):
        with pytest.raises(RpcError) as caught:
            await stub.unary(f"{status}:{text}".encode())
        return caught.value.status.value, caught.value.message or ""

    async with our_client(Failing()) as (_, stub):
        for status in range(1, 17):
            assert await error(status, "plain") == (status, "plain")
        for text in MESSAGES:
            assert await error(13, text) == (13, text)


async def test_status_after_replies():
    """An error after some replies lets them through first."""

    class Failing(GrpcioEcho):
        def count(self, request, context):
            yield b"1"
            yield b"2"
            context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    async with our_client(Failing()) as (_, stub):
        replies = stub.count(b"")
        assert [await anext(replies), await anext(replies)] == [b"1", b"2"]
        with pytest.raises(RpcError) as caught:
            await anext(replies)
        assert (caught.value.status, caught.value.message) == (Status.DATA_LOSS, "gone")


async def test_status_details():
    """What grpcio-status puts into the trailers are the details of the error."""
    info = ErrorInfo(reason="TEST", domain="echo")
    packed = Any()
    packed.Pack(info)

    class Failing(GrpcioEcho):
        def unary(self, request, context):
            context.abort_with_status(rpc_status.to_status(RichStatus(code=5, message="nobody", details=[packed])))

    given = {"status_details_codec": ProtoStatusDetailsCodec()}
    async with our_client(Failing(), given=given) as (_, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        error = caught.value
        assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "nobody", [info])


@pytest.mark.parametrize("path", ["/test.Echo/No", "/no.Service/Unary"])
async def test_unimplemented(path):
    """An unknown method, or service, is UNIMPLEMENTED, for each kind of call."""
    async with our_client() as (_, stub):
        for cardinality in Cardinality:
            async with stub.channel.request(path, cardinality, bytes, bytes) as stream:
                with pytest.raises(RpcError) as caught:
                    await stream.send_message(b"", end=True)
                    await stream.recv_message()
            assert caught.value.status is Status.UNIMPLEMENTED


async def test_compressing_server():
    """A reply that the server compresses although we accept nothing is INTERNAL (compression.md); the channel lives."""

    class Compressing(GrpcioEcho):
        def unary(self, request, context):
            if request != b"plain":
                context.set_compression(grpc.Compression.Gzip)
            return request * 1_000

    async with our_client(Compressing(), settings=ChannelSettings(accept_compression=())) as (_, stub):
        with pytest.raises(RpcError, match="gzip") as caught:
            await stub.unary(b"x")
        assert caught.value.status is Status.INTERNAL
        assert await stub.unary(b"plain") == b"plain" * 1_000


# --- deadlines and cancellation --------------------------------------------------------------------


class _Waiting(GrpcioEcho):
    """Waits for its cancellation, and says when it came."""

    def __init__(self):
        self.begun = Signal()
        self.cancelled = Signal()

    def _watch(self, context):
        over = threading.Event()

        def end():
            over.set()
            self.cancelled.set()

        assert context.add_callback(end)
        return over

    def unary(self, request, context):
        over = self._watch(context)
        self.begun.set()
        over.wait(10)
        return b""

    def chat(self, requests, context):
        over = self._watch(context)
        yield b"here"
        over.wait(10)


class _Asked(GrpcioEcho):
    """Answers with the seconds that it has left."""

    def unary(self, request, context):
        return b"%f" % context.time_remaining()


NEVER = 1e12
"""grpcio gives hundreds of years where no deadline was sent."""


async def test_server_sees_the_deadline():
    """The server knows how much time we give it, and that there is no end when we name none."""
    async with our_client(_Asked()) as (_, stub):
        assert float(await stub.unary(b"")) > NEVER
        for timeout in (5, 30, 7_200, 10_000_000):
            seen = float(await stub.unary(b"", timeout=timeout))
            assert 0.95 * timeout < seen <= 1.05 * timeout


async def test_deadline():
    """A deadline ends the call with DEADLINE_EXCEEDED, and cancels it at the server."""
    service = _Waiting()
    async with our_client(service) as (_, stub):

        async def call(timeout):
            with pytest.raises(RpcError) as caught:
                await stub.unary(b"", timeout=timeout)
            assert caught.value.status is Status.DEADLINE_EXCEEDED

        await until_begun(call, service.begun.is_set)
        await service.cancelled.wait()


async def test_deadline_within_a_stream():
    """A deadline ends a stream that has begun."""
    service = _Waiting()
    async with our_client(service) as (_, stub), stub.chat(timeout=1) as stream:
        await stream.send_request()
        assert await stream.recv_message() == b"here"
        with pytest.raises(RpcError) as caught:
            await stream.recv_message()
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        await service.cancelled.wait()


@pytest.mark.parametrize("how", ["inherited", "detached"])
async def test_deadline_is_passed_on(how):
    """A call made inside a handler has the deadline of the call being handled, unless it is detached."""
    async with our_client(_Asked()) as (_, inner):

        class Passing(Echo):
            async def unary(self, request):
                if how == "inherited":
                    return await inner.unary(request)
                with detached():
                    return await inner.unary(request)

        async with our_server(Passing()) as (_, stub):
            future = stub.unary.future(b"", timeout=30)
            seen = float(await in_thread(future.result))
            assert 25 < seen <= 31 if how == "inherited" else seen > NEVER


async def test_client_cancels():
    """A call cancelled by its scope is cancelled at the server."""
    service = _Waiting()
    async with our_client(service) as (_, stub):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"")
            await service.begun.wait()
            tasks.cancel_scope.cancel()
        await service.cancelled.wait()


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_client_leaves_a_stream(how):
    """A stream that is cancelled, or left by its block, is cancelled at the server."""
    service = _Waiting()
    async with our_client(service) as (_, stub):
        async with stub.chat() as stream:
            await stream.send_request()
            assert await stream.recv_message() == b"here"
            if how == "cancel":
                await stream.cancel()
        await service.cancelled.wait()


async def test_channel_closes():
    """A channel that closes cancels its calls at the server, and fails them here with UNAVAILABLE."""
    service = _Waiting()
    async with our_client(service) as (_, stub), anyio.create_task_group() as tasks:

        async def call():
            with pytest.raises(RpcError) as caught:
                await stub.unary(b"")
            assert caught.value.status is Status.UNAVAILABLE

        tasks.start_soon(call)
        await service.begun.wait()
        stub.channel.close()
        await service.cancelled.wait()


async def test_server_cancels():
    """A call that the server cancels is CANCELLED here."""

    class Cancelling(GrpcioEcho):
        def chat(self, requests, context):
            yield b"here"
            next(requests)
            context.cancel()

    async with our_client(Cancelling()) as (_, stub), stub.chat() as stream:
        await stream.send_request()
        assert await stream.recv_message() == b"here"
        await stream.send_message(b"")
        with pytest.raises(RpcError) as caught:
            await stream.recv_message()
        assert caught.value.status is Status.CANCELLED


async def test_server_stops_at_once():
    """Calls in flight fail when the server stops without grace, with what it says or UNAVAILABLE."""
    service = _Waiting()
    async with our_client(service) as (server, stub), anyio.create_task_group() as tasks:

        async def call():
            with pytest.raises(RpcError) as caught:
                await stub.unary(b"")
            assert caught.value.status in (Status.UNAVAILABLE, Status.CANCELLED)

        tasks.start_soon(call)
        await service.begun.wait()
        await in_thread(server.stop, None)


# --- sizes and numbers -----------------------------------------------------------------------------


async def test_large_messages():
    """16 MiB go both ways, in unary calls and in streams, with the limits raised."""
    large = bytes(range(256)) * (16 * MIB // 256)
    settings = ChannelSettings(max_receive_message=16 * MIB)
    async with our_client(settings=settings, options=UNLIMITED) as (_, stub):
        assert await stub.unary(large) == large
        async with stub.chat() as stream:
            stream.start_sender([large, b"", large])
            assert [reply async for reply in stream] == [large, b"", large]


async def test_too_large_messages():
    """A message over our limit, or over the server's, is RESOURCE_EXHAUSTED; one at the limit passes."""

    class Large(GrpcioEcho):
        def sum(self, requests, context):
            return bytes(4 * MIB + 1)

    async def chat():
        async with stub.chat() as stream:
            await stream.send_message(bytes(4 * MIB + 1), end=True)
            await stream.recv_message()

    async with our_client(Large()) as (_, stub):
        assert await stub.unary(bytes(4 * MIB)) == bytes(4 * MIB)
        for call in (lambda: stub.unary(bytes(4 * MIB + 1)), chat, lambda: stub.sum([])):
            with pytest.raises(RpcError) as caught:
                await call()
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"again") == b"again"


async def test_send_limit():
    """A message over our own limit for sending is RESOURCE_EXHAUSTED without being sent."""
    settings = ChannelSettings(max_send_message=1_000)
    async with our_client(settings=settings) as (_, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(bytes(1_001))
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(bytes(1_000)) == bytes(1_000)


async def test_many_calls_at_once():
    """Calls beyond the concurrent streams that the server allows wait here, and all succeed."""
    # Its overload protection would refuse calls within the limit as well, while it cleans up after earlier ones.
    options = [("grpc.max_concurrent_streams", 5), ("grpc.http.overload_protection", 0)]
    async with our_client(options=options) as (_, stub):
        async with anyio.create_task_group() as tasks:

            async def call(number):
                assert await stub.unary(b"%d" % number) == b"%d" % number

            for number in range(500):
                tasks.start_soon(call, number)


async def test_many_streams_at_once():
    """Streams that all send and receive share the connection fairly enough to end."""
    requests = [b"%d" % number * 1_000 for number in range(50)]
    async with our_client() as (_, stub), anyio.create_task_group() as tasks:

        async def call():
            async with stub.chat() as stream:
                stream.start_sender(requests)
                assert [reply async for reply in stream] == requests

        for _ in range(10):
            tasks.start_soon(call)


async def test_unread_replies():
    """Streams left with unread replies cost no credit: later calls on the connection do not stall."""

    class Generous(GrpcioEcho):
        def count(self, request, context):
            for _ in range(3):
                yield bytes(60_000)

    async with our_client(Generous()) as (_, stub):
        for _ in range(100):
            async with stub.count(b"") as replies:
                assert len(await anext(replies)) == 60_000
        assert await stub.unary(b"alive") == b"alive"


async def test_back_pressure():
    """Sending waits while the server does not read; when it reads, everything arrives."""
    proceed = threading.Event()

    class Slow(GrpcioEcho):
        def sum(self, requests, context):
            proceed.wait(10)
            return b"%d" % sum(len(request) for request in requests)

    sent = 0

    async def requests():
        nonlocal sent
        for sent in range(1, 201):  # noqa: B007 - counts for the test
            yield bytes(100_000)

    result = []

    async def call():
        result.append(await stub.sum(requests()))

    async with our_client(Slow()) as (_, stub):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: sent)
            for _ in range(100):
                await anyio.wait_all_tasks_blocked()
            assert sent < 150
            proceed.set()
        assert result == [b"20000000"]


async def test_reconnect():
    """After the server has gone and another has come, the next call connects by itself."""
    async with grpcio_server() as (first, target):
        async with Channel(target, codec=RawCodec()) as channel:
            stub = EchoStub(channel)
            assert await stub.unary(b"one") == b"one"
            await in_thread(first.stop(0).wait)
            async with grpcio_server(address=target):
                call = channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes, wait_for_ready=True)
                async with call:
                    await call.send_message(b"two")
                    assert await call.recv_message() == b"two"
