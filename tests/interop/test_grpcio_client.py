"""grpcio calls our server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import anyio
import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from grpclib.const import Status
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError

from echo import Echo
from grpcio_peer import Signal, in_thread, our_server
from orbit_net.server import ServerSettings, current_call
from patience import until_begun

pytestmark = pytest.mark.anyio

MIB = 1_048_576
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def failing(call, *arguments, **options):
    """Return the error of a call; run it in a thread."""
    with pytest.raises(grpc.RpcError) as caught:
        result = call(*arguments, **options)
        if not isinstance(result, bytes):
            list(result)
    return caught.value


# --- the four kinds --------------------------------------------------------------------------------


async def test_unary():
    """A unary call carries its message and its reply, empty ones too."""
    async with our_server() as (_, stub):
        assert await in_thread(stub.unary, b"hello") == b"hello"
        assert await in_thread(stub.unary, b"") == b""


async def test_server_streaming():
    """A server-streaming call gives all replies in order, or none."""
    async with our_server() as (_, stub):
        assert await in_thread(lambda: list(stub.count(b"1000"))) == [b"%d" % number for number in range(1000)]
        assert await in_thread(lambda: list(stub.count(b"0"))) == []


async def test_client_streaming():
    """A client-streaming call takes all requests, or none."""
    async with our_server() as (_, stub):
        assert await in_thread(stub.sum, iter([b"%d" % number for number in range(1000)])) == b"499500"
        assert await in_thread(stub.sum, iter([])) == b"0"


async def test_full_duplex():
    """A full-duplex call carries requests and replies at once, or none."""
    requests = [b"%d" % number for number in range(1000)]
    async with our_server() as (_, stub):
        assert await in_thread(lambda: list(stub.chat(iter(requests)))) == requests
        assert await in_thread(lambda: list(stub.chat(iter([])))) == []


async def test_ping_pong():
    """Each request of a full-duplex call depends on the reply before it."""

    def play(stub):
        answers = SimpleQueue()

        def requests():
            number = 1
            while number <= 2**20:
                yield b"%d" % number
                number = 2 * answers.get(timeout=10)

        replies = []
        for reply in stub.chat(requests()):
            replies.append(int(reply))
            answers.put(int(reply))
        return replies

    async with our_server() as (_, stub):
        assert await in_thread(play, stub) == [2**power for power in range(21)]


async def test_early_answer():
    """A server that answers a stream before its end ends the call with OK."""

    class Early(Echo):
        async def chat(self, stream):
            await stream.send_message(await stream.recv_message())

    def play(stub):
        done = threading.Event()

        def requests():
            yield b"first"
            done.wait(10)

        replies = list(stub.chat(requests()))
        done.set()
        return replies

    async with our_server(Early()) as (_, stub):
        assert await in_thread(play, stub) == [b"first"]
        assert await in_thread(stub.unary, b"again") == b"again"


# --- metadata --------------------------------------------------------------------------------------


class _Metadata(Echo):
    """Sends back what it got, as initial and as trailing metadata."""

    async def chat(self, stream):
        got = [pair for pair in stream.metadata.items() if pair[0].startswith("key")]
        assert stream.user_agent.startswith("grpc-python/")
        await stream.send_initial_metadata(metadata=got)
        await stream.send_message(b"here")
        await stream.send_trailing_metadata(metadata=got)

    async def unary(self, request):
        current_call().set_trailing_metadata({"trailing-bin": b"\xff"})
        raise GRPCError(Status.ABORTED, "with metadata")


METADATA = [
    ("key", "one"),
    ("key", "two"),
    ("key-empty", ""),
    ("key-comma", "a, b,c"),
    ("key-punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("key-long", "x" * 4_000),
    ("key-bin", bytes(range(256))),
    ("key-bin", b""),
    ("key-bin", b"\xff"),
    ("key.dots_and-dashes-bin", b"a"),
]


async def test_metadata():
    """Metadata of all sorts survives the way there and back, in headers and in trailers."""

    def call(stub):
        replies = stub.chat(iter([]), metadata=METADATA)
        assert list(replies) == [b"here"]
        return replies.initial_metadata(), replies.trailing_metadata()

    async with our_server(_Metadata()) as (_, stub):
        for got in await in_thread(call, stub):
            assert sorted((key, value) for key, value in got if key.startswith("key")) == sorted(METADATA)


async def test_trailing_metadata_of_an_error():
    """An error without a message, which is a trailers-only response, carries trailing metadata."""
    async with our_server(_Metadata()) as (_, stub):
        error = await in_thread(failing, stub.unary, b"")
        assert error.code() is grpc.StatusCode.ABORTED
        assert ("trailing-bin", b"\xff") in error.trailing_metadata()


# --- statuses --------------------------------------------------------------------------------------

MESSAGES = ["", "plain", "100 %", "%41%", "täxt €uro 🐍", "line\nbreak\r\n\t", " blanks ", "\x00\x1f\x7f"]


async def test_status_codes_and_messages():
    """Every status but OK, and messages of all sorts, reach the client unchanged."""

    class Failing(Echo):
        async def unary(self, request):
            number, _, text = request.decode().partition(":")
            raise GRPCError(Status(int(number)), text)

    def calls(stub):
        for status in list(Status)[1:]:
            error = failing(stub.unary, b"%d:plain" % status.value)
            assert (error.code().value[0], error.details()) == (status.value, "plain")
        for text in MESSAGES:
            assert failing(stub.unary, f"13:{text}".encode()).details() == text

    async with our_server(Failing()) as (_, stub):
        await in_thread(calls, stub)


async def test_status_after_replies():
    """An error after some replies lets them through first."""

    class Failing(Echo):
        async def count(self, request):
            yield b"1"
            yield b"2"
            raise GRPCError(Status.DATA_LOSS, "gone")

    def call(stub):
        replies = stub.count(b"")
        assert [next(replies), next(replies)] == [b"1", b"2"]
        return failing(lambda: replies)

    async with our_server(Failing()) as (_, stub):
        error = await in_thread(call, stub)
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "gone")


async def test_status_details():
    """Status details are what grpcio-status reads out of the trailers."""

    class Failing(Echo):
        async def unary(self, request):
            raise GRPCError(Status.NOT_FOUND, "nobody", [ErrorInfo(reason="TEST", domain="echo")])

    async with our_server(Failing(), status_details_codec=ProtoStatusDetailsCodec()) as (_, stub):
        status = rpc_status.from_call(await in_thread(failing, stub.unary, b""))
        assert (status.code, status.message) == (5, "nobody")
        info = ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info == ErrorInfo(reason="TEST", domain="echo")


async def test_exception_in_the_handler(caplog):
    """An exception of a handler is UNKNOWN without its text."""

    class Failing(Echo):
        async def unary(self, request):
            raise ValueError("secret")

    async with our_server(Failing()) as (_, stub):
        error = await in_thread(failing, stub.unary, b"")
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert "secret" not in error.details()
    assert "secret" in caplog.text


@pytest.mark.parametrize("path", ["/test.Echo/No", "/no.Service/Unary"])
async def test_unimplemented(path):
    """An unknown method, or service, is UNIMPLEMENTED, for each kind of call."""
    async with our_server() as (_, stub):
        channel = stub.channel
        for kind, request in (
            (channel.unary_unary, b""),
            (channel.unary_stream, b""),
            (channel.stream_unary, iter([b""])),
            (channel.stream_stream, iter([b""])),
        ):
            error = await in_thread(failing, kind(path), request)
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_compressed_request_where_compression_is_switched_off():
    """A call that compresses is told UNIMPLEMENTED, and the next one without compression succeeds."""
    async with our_server(settings=ServerSettings(accept_compression=())) as (_, stub):
        error = await in_thread(failing, stub.unary, b"x" * 1_000, compression=grpc.Compression.Gzip)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await in_thread(stub.unary, b"x" * 1_000) == b"x" * 1_000


# --- deadlines and cancellation --------------------------------------------------------------------


class _Waiting(Echo):
    """Waits for its cancellation, and says when it came."""

    def __init__(self):
        self.begun = anyio.Event()
        self.cancelled = anyio.Event()

    async def _wait(self):
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()

    async def unary(self, request):
        await self._wait()

    async def chat(self, stream):
        await stream.send_message(b"here")
        await self._wait()


async def test_server_sees_the_deadline():
    """The handler knows how much time the client gives it, and that there is no end when the client names none."""

    class Asked(Echo):
        async def unary(self, request):
            deadline = current_call().deadline
            return b"none" if deadline is None else b"%d" % deadline.time_remaining()

    async with our_server(Asked()) as (_, stub):
        assert await in_thread(stub.unary, b"") == b"none"
        for timeout in (30, 7_200, 10_000_000):
            seen = float(await in_thread(stub.unary, b"", timeout=timeout))
            assert 0.95 * timeout < seen < 1.05 * timeout  # grpcio rounds


async def test_deadline():
    """A deadline ends the call with DEADLINE_EXCEEDED at the client, and cancels the handler."""
    service = _Waiting()
    async with our_server(service) as (_, stub):

        async def call(timeout):
            error = await in_thread(failing, stub.unary, b"", timeout=timeout)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        await until_begun(call, service.begun.is_set)
        await service.cancelled.wait()


async def test_deadline_within_a_stream():
    """A deadline ends a stream that has begun."""
    service = _Waiting()

    def call(stub):
        replies = stub.chat(iter([]), timeout=1)
        assert next(replies) == b"here"
        return failing(lambda: replies)

    async with our_server(service) as (_, stub):
        assert (await in_thread(call, stub)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await service.cancelled.wait()


async def test_server_enforces_the_deadline():
    """Our server ends an overdue call by itself: the trailers say so, not only the client's clock."""
    service = _Waiting()

    def call(stub, timeout):
        method = stub.channel.unary_unary("/test.Echo/Unary")
        return failing(method, b"", metadata=[("grpc-timeout", f"{timeout * 1e3:.0f}m")])

    async with our_server(service) as (_, stub):

        async def overdue(timeout):
            error = await in_thread(call, stub, timeout)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        await until_begun(overdue, service.begun.is_set)
        await service.cancelled.wait()


async def test_client_cancels():
    """A call that the client cancels cancels the handler."""
    service = _Waiting()
    async with our_server(service) as (_, stub):
        future = stub.unary.future(b"")
        await service.begun.wait()
        future.cancel()
        await service.cancelled.wait()
        assert future.cancelled()


async def test_client_leaves_a_stream():
    """A stream that the client cancels in the middle cancels the handler."""
    service = _Waiting()

    def call(stub):
        replies = stub.chat(iter([]))
        assert next(replies) == b"here"
        replies.cancel()

    async with our_server(service) as (_, stub):
        await in_thread(call, stub)
        await service.cancelled.wait()


async def test_client_disconnects():
    """A client that goes away cancels the handlers of all its calls."""
    service = _Waiting()
    async with our_server(service) as (_, stub):
        future = stub.unary.future(b"")
        await service.begun.wait()
        await in_thread(stub.channel.close)
        assert future.done()
        await service.cancelled.wait()


async def test_server_cancels():
    """A handler that cancels its call gives the client CANCELLED."""

    class Cancelling(Echo):
        async def chat(self, stream):
            await stream.send_message(b"here")
            await stream.recv_message()
            await stream.cancel()

    def call(stub):
        go_on = threading.Event()

        def requests():
            go_on.wait(10)
            yield b""

        replies = stub.chat(requests())
        assert next(replies) == b"here"
        go_on.set()
        return failing(lambda: replies)

    async with our_server(Cancelling()) as (_, stub):
        assert (await in_thread(call, stub)).code() is grpc.StatusCode.CANCELLED


async def test_close():
    """A server that closes ends calls in flight with UNAVAILABLE."""
    service = _Waiting()
    async with our_server(service) as (server, stub):
        future = stub.unary.future(b"")
        await service.begun.wait()
        server.close()
        error = await in_thread(failing, future.result, timeout=10)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await service.cancelled.wait()


# --- sizes and numbers -----------------------------------------------------------------------------


async def test_large_messages():
    """16 MiB go both ways, in unary calls and in streams, with the limits raised."""
    large = bytes(range(256)) * (16 * MIB // 256)

    def calls(stub):
        assert stub.unary(large) == large
        assert list(stub.chat(iter([large, b"", large]))) == [large, b"", large]

    settings = ServerSettings(max_receive_message=16 * MIB)
    async with our_server(settings=settings, options=UNLIMITED) as (_, stub):
        await in_thread(calls, stub)


async def test_too_large_messages():
    """A message over our limit, or over the client's, is RESOURCE_EXHAUSTED; one at the limit passes."""

    class Large(Echo):
        async def sum(self, requests):
            return bytes(4 * MIB + 1)

    def calls(stub):
        assert stub.unary(bytes(4 * MIB)) == bytes(4 * MIB)
        for error in (
            failing(stub.unary, bytes(4 * MIB + 1)),
            failing(stub.chat, iter([bytes(4 * MIB + 1)])),
            failing(stub.sum, iter([])),
        ):
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.unary(b"again") == b"again"

    async with our_server(Large()) as (_, stub):
        await in_thread(calls, stub)


async def test_many_calls_at_once():
    """Calls beyond the concurrent streams that we allow wait at the client, and all succeed."""

    def calls(stub):
        futures = [stub.unary.future(b"%d" % number) for number in range(500)]
        assert [future.result(timeout=15) for future in futures] == [b"%d" % number for number in range(500)]

    async with our_server(settings=ServerSettings(max_concurrent_streams=10)) as (_, stub):
        await in_thread(calls, stub)


async def test_many_streams_at_once():
    """Streams that all send and receive share the connection fairly enough to end."""
    requests = [b"%d" % number * 1_000 for number in range(50)]

    def calls(stub):
        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(lambda _: list(stub.chat(iter(requests))), range(10))) == [requests] * 10

    async with our_server() as (_, stub):
        await in_thread(calls, stub)


async def test_unread_requests():
    """Requests that the handler does not read cost no credit: later calls on the connection do not stall."""

    class Careless(Echo):
        async def sum(self, requests):
            return b"enough"

    def calls(stub):
        for _ in range(100):
            assert stub.sum(iter([bytes(60_000)] * 2)) == b"enough"

    async with our_server(Careless()) as (_, stub):
        await in_thread(calls, stub)


async def test_back_pressure():
    """A client that does not read stops the handler; when it reads, everything arrives."""
    sent = 0

    class Pushing(Echo):
        async def count(self, request):
            nonlocal sent
            for sent in range(1, 201):  # noqa: B007 - counts for the test
                yield bytes(100_000)

    first_seen, proceed = Signal(), threading.Event()

    def call(stub):
        replies = stub.count(b"")
        sizes = [len(next(replies))]
        first_seen.set()
        proceed.wait(10)
        return sizes + [len(reply) for reply in replies]

    async with our_server(Pushing(), options=[("grpc.http2.bdp_probe", 0)]) as (_, stub):
        result = []

        async def run():
            result.append(await in_thread(call, stub))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await first_seen.wait()
            for _ in range(100):
                await anyio.wait_all_tasks_blocked()
            assert sent < 150
            proceed.set()
        assert result == [[100_000] * 200]
