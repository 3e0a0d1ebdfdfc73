"""What goes wrong with grpclib 0.4.9 does not go wrong here: a section for each defect, shown by a hand-made peer."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, nullcontext

import anyio
import grpclib
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

from echo import Echo, EchoStub, RawCodec, running
from memory import memory_pair
from orbit_net.client import Channel
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from rawpeer import OK_HEADERS, OK_TRAILERS, RawPeer, message, request_headers

pytestmark = pytest.mark.anyio

UNARY, CHAT = "/test.Echo/Unary", "/test.Echo/Chat"
HUGE = b"\0\xff\xff\xff\xff"
"""The prefix of a message of 4 GiB."""
PING = PingFrame(0, opaque_data=b"12345678").serialize()


def unknown_frame(stream_id):
    """Return a frame of a type that no specification has, with every flag set."""
    payload = b"what is this?"
    return bytes([0, 0, len(payload), 0x42, 0xFF, 0, 0, 0, stream_id]) + payload


@asynccontextmanager
async def against_server(service=None):
    """Give ``(server, peer, stub)``: a hand-made client of our server, and a channel of ours to the same."""
    async with running(service) as (server, channel, stub):
        host, _, port = channel.target.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            peer = RawPeer(stream)
            await peer.begin()
            yield server, peer, stub


class Network:
    """A connector whose other ends the test takes by :meth:`accept`, in the order of connecting."""

    def __init__(self):
        self._send, self._receive = anyio.create_memory_object_stream(10)
        self._streams = []

    async def __call__(self):
        """Connect."""
        ours, theirs = memory_pair()
        self._streams.append(theirs)
        self._send.send_nowait(theirs)
        return ours

    async def accept(self):
        """Return a hand-made server for the next connection."""
        peer = RawPeer(await self._receive.receive())
        await peer.accept()
        return peer

    async def aclose(self):
        """Close all connections."""
        self._send.close()
        self._receive.close()
        for stream in self._streams:
            await stream.aclose()


@asynccontextmanager
async def against_client():
    """Give ``(network, stub, tasks)``: our client, and tasks to call with; a hand-made server is to be accepted."""
    network = Network()
    channel = Channel("memory:1", codec=RawCodec(), connector=network)
    async with channel, aclosing(network), anyio.create_task_group() as tasks:
        yield network, EchoStub(channel), tasks


class Answer:
    """What becomes of a call that runs in a task."""

    def __init__(self, tasks, call):
        self._done = anyio.Event()
        self._result = self._error = None
        tasks.start_soon(self._run, call)

    async def _run(self, call):
        try:
            self._result = await call()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self._error = error
        self._done.set()

    async def get(self):
        """Return or raise what the call did."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result


def call(peer, stream_id, body, **fields):
    """Return the frames of a unary request with these bytes as its body."""
    return peer.headers(stream_id, request_headers(UNARY, **fields)), peer.data(stream_id, body, end=True)


async def status_of(peer, stream_id):
    """Return the status that a call ended with, which is not a reset."""
    _, _, trailers = await peer.response(stream_id)
    return Status(int(trailers["grpc-status"]))


async def still_works(peer, stream_id, **fields):
    """Show that a connection lives: a unary call on it succeeds."""
    await peer.send(*call(peer, stream_id, message(b"alive"), **fields))
    assert await status_of(peer, stream_id) is Status.OK


async def calm_down(peer):
    """Read to the end of a connection, which must be for abuse; return the last stream that was worked on."""
    [goaway] = [frame for frame in await peer.until_closed() if isinstance(frame, GoAwayFrame)]
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    return goaway.last_stream_id


# --- 1: an unknown frame type closes the connection ------------------------------------------------


async def test_1_unknown_frames_to_a_server():
    """RFC 9113 §5.5: a server ignores frames of unknown types, on the connection and within a call."""
    async with against_server() as (_, peer, _):
        headers, data = call(peer, 1, message(b"hello"))
        await peer.send(unknown_frame(0), headers, unknown_frame(1), data, unknown_frame(0))
        assert await status_of(peer, 1) is Status.OK
        await still_works(peer, 3)


async def test_1_unknown_frames_to_a_client():
    """RFC 9113 §5.5: a client ignores frames of unknown types, on the connection and within a call."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(unknown_frame(0), peer.headers(1, OK_HEADERS), unknown_frame(1))
        await peer.send(peer.data(1, message(b"hi")), unknown_frame(1), peer.headers(1, OK_TRAILERS, end=True))
        assert await answer.get() == b"hi"


# --- 2: a compressed message gives UNKNOWN ---------------------------------------------------------


async def test_2_compressed_request():
    """A request whose encoding we do not have is UNIMPLEMENTED, and the answer tells what we have (compression.md)."""
    async with against_server() as (_, peer, _):
        await peer.send(*call(peer, 1, message(b"\x1f\x8b", flag=1), grpc_encoding="snappy"))
        _, _, trailers = await peer.response(1)
        assert trailers["grpc-status"] == str(Status.UNIMPLEMENTED.value)
        assert "identity" in trailers["grpc-accept-encoding"]
        await still_works(peer, 3)


async def test_2_compressed_request_without_encoding():
    """A message flagged as compressed in a call without an encoding is INTERNAL (compression.md)."""
    async with against_server() as (_, peer, _):
        await peer.send(*call(peer, 1, message(b"\x1f\x8b", flag=1)))
        assert await status_of(peer, 1) is Status.INTERNAL
        await still_works(peer, 3)


@pytest.mark.parametrize("encoding", [[], [("grpc-encoding", "gzip")]], ids=["unannounced", "gzip"])
async def test_2_compressed_reply(encoding):
    """A compressed reply without an encoding, or cut short, is INTERNAL at the client, and the connection lives."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(peer.headers(1, [*OK_HEADERS, *encoding]), peer.data(1, message(b"\x1f\x8b", flag=1)))
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.INTERNAL
        answer = Answer(tasks, lambda: stub.unary(b"again"))
        await peer.read(HeadersFrame)
        await peer.respond(3, b"again")
        assert await answer.get() == b"again"


# --- 3: a truncated message is an AssertionError ---------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 5, 9])
async def test_3_truncated_request(size):
    """A request that ends inside a message, or inside its prefix, is INTERNAL, and the connection lives."""
    async with against_server() as (_, peer, _):
        await peer.send(*call(peer, 1, message(b"hello")[:size]))
        assert await status_of(peer, 1) is Status.INTERNAL
        await still_works(peer, 3)


@pytest.mark.parametrize("size", [1, 4, 5, 9])
async def test_3_truncated_reply(size):
    """A response that ends inside a message, or inside its prefix, is INTERNAL at the client."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(peer.headers(1, OK_HEADERS), peer.data(1, message(b"hello")[:size]))
        await peer.send(peer.headers(1, OK_TRAILERS, end=True))
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.INTERNAL


# --- 4: a declared size of 4 GiB is accepted -------------------------------------------------------


async def test_4_huge_request():
    """A declared size over the limit is RESOURCE_EXHAUSTED at the prefix, and the connection lives."""
    async with against_server() as (_, peer, _):
        headers, _ = call(peer, 1, b"")
        await peer.send(headers, peer.data(1, HUGE))
        assert await status_of(peer, 1) is Status.RESOURCE_EXHAUSTED
        await still_works(peer, 3)


async def test_4_huge_reply():
    """A declared size over the limit is RESOURCE_EXHAUSTED at the client, and the server is told to stop."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(peer.headers(1, OK_HEADERS), peer.data(1, HUGE))
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert (await peer.read(RstStreamFrame)).stream_id == 1


# --- 5: a flood of PINGs goes unpunished -----------------------------------------------------------


async def test_5_ping_flood_to_a_server():
    """CVE-2019-9512: PINGs without end are answered by GOAWAY(ENHANCE_YOUR_CALM); other connections are served."""
    async with against_server() as (_, peer, stub):
        await peer.send(PING * 10_000)
        await calm_down(peer)
        assert await stub.unary(b"other") == b"other"


async def test_5_ping_flood_to_a_client():
    """A server that floods us with PINGs loses the connection, and the call fails with UNAVAILABLE."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(PING * 10_000)
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.UNAVAILABLE
        await calm_down(peer)


# --- 6: rapid resets go unpunished -----------------------------------------------------------------


async def test_6_rapid_resets():
    """CVE-2023-44487: requests opened and reset at once end in GOAWAY(ENHANCE_YOUR_CALM), and no handler is left."""
    handlers = 0

    class Slow(Echo):
        async def unary(self, request):
            nonlocal handlers
            handlers += 1
            try:
                await anyio.sleep_forever()
            finally:
                handlers -= 1

    async with against_server(Slow()) as (_, peer, stub):
        frames = []
        for stream_id in range(1, 4_001, 2):
            frames += [*call(peer, stream_id, message(b"")), peer.reset(stream_id, ErrorCodes.CANCEL)]
        await peer.send(*frames)
        assert await calm_down(peer) < 4_000
        assert await stub.sum([b"1", b"2"]) == b"3"
        assert handlers == 0


# --- 7: broken base64 is accepted, joined values are not split -------------------------------------


class _Binary(Echo):
    """Answers with what it got under ``key-bin``."""

    async def unary(self, request):
        return b"|".join(current_call().metadata.getall("key-bin"))


@pytest.mark.parametrize("value", ["!!!!", "AQ=I", "A", "AQI=AQI=", "é"])
async def test_7_broken_base64_to_a_server(value):
    """Binary metadata that is not base64 is INTERNAL for the call, and the connection lives."""
    async with against_server(_Binary()) as (_, peer, _):
        await peer.send(*call(peer, 1, message(), key_bin=value))
        assert await status_of(peer, 1) is Status.INTERNAL
        await still_works(peer, 3, key_bin="AQI")


async def test_7_joined_values_to_a_server():
    """Values joined by commas are split before they are decoded, padded or not (PROTOCOL-HTTP2, Custom-Metadata)."""
    async with against_server(_Binary()) as (_, peer, _):
        await peer.send(*call(peer, 1, message(), key_bin="AP8=,,YWJj,YQ"))
        _, body, _ = await peer.response(1)
        assert body == message(b"\0\xff||abc|a")


async def test_7_metadata_to_a_client():
    """A client splits joined values of headers and trailers, and broken base64 fails its own call alone."""

    async def chat():
        async with stub.chat() as stream:
            await stream.send_request(end=True)
            await stream.recv_trailing_metadata()
            return stream.initial_metadata.getall("key-bin"), stream.trailing_metadata.getall("key-bin")

    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, chat)
        peer = await network.accept()
        await peer.request()
        headers, trailers = [*OK_HEADERS, ("key-bin", "AP8=,YQ")], [*OK_TRAILERS, ("key-bin", "Yg,Yw==")]
        await peer.respond(1, headers=headers, trailers=trailers)
        assert await answer.get() == ([b"\0\xff", b"a"], [b"b", b"c"])
        bad_headers, bad_trailers = [*OK_HEADERS, ("key-bin", "!!!!")], [*OK_TRAILERS, ("key-bin", "A")]
        for stream_id, bad in ((3, (bad_headers, trailers)), (5, (headers, bad_trailers))):
            answer = Answer(tasks, chat)
            await peer.read(HeadersFrame)
            await peer.respond(stream_id, headers=bad[0], trailers=bad[1])
            with pytest.raises(grpclib.GRPCError) as caught:
                await answer.get()
            assert caught.value.status is Status.INTERNAL
        answer = Answer(tasks, chat)
        await peer.read(HeadersFrame)
        await peer.respond(7, headers=headers, trailers=trailers)
        assert await answer.get() == ([b"\0\xff", b"a"], [b"b", b"c"])


# --- 8: a graceful GOAWAY kills calls in flight ----------------------------------------------------


async def test_8_call_in_flight_survives_goaway():
    """RFC 9113 §6.8: a call at or below the last stream of a GOAWAY goes on to its end; the next one connects anew."""
    async with against_client() as (network, stub, tasks):
        first = Answer(tasks, lambda: stub.unary(b"first"))
        peer = await network.accept()
        await peer.request()
        await peer.send(peer.goaway(2**31 - 1), PING)
        while "ACK" not in (await peer.read(PingFrame)).flags:
            pass
        await peer.send(peer.goaway(1))
        second = Answer(tasks, lambda: stub.unary(b"second"))
        other = await network.accept()
        assert (await other.request())[2] == message(b"second")
        await other.respond(1, b"two")
        assert await second.get() == b"two"
        await peer.respond(1, b"one")
        assert await first.get() == b"one"
        await peer.until_closed()  # it was the last call of that connection


async def test_8_call_above_goaway_is_made_again():
    """gRFC A6: a call that the server never saw is made again on the next connection, unseen by the caller."""
    async with against_client() as (network, stub, tasks):
        first = Answer(tasks, lambda: stub.unary(b"first"))
        peer = await network.accept()
        await peer.request()
        second = Answer(tasks, lambda: stub.unary(b"second"))
        await peer.request()
        await peer.send(peer.goaway(1))
        other = await network.accept()
        assert (await other.request())[2] == message(b"second")
        await other.respond(1, b"two")
        assert await second.get() == b"two"
        await peer.respond(1, b"one")
        assert await first.get() == b"one"


async def test_8_our_server_drains():
    """A draining server sends two GOAWAYs, finishes the call in flight, and closes."""
    begun, proceed = anyio.Event(), anyio.Event()

    class Slow(Echo):
        async def unary(self, request):
            begun.set()
            await proceed.wait()
            return request

    async with against_server(Slow()) as (server, peer, _), anyio.create_task_group() as tasks:
        await peer.send(*call(peer, 1, message(b"hello")))
        await begun.wait()
        tasks.start_soon(server.drain)
        goaways = [await peer.read(GoAwayFrame), await peer.read(GoAwayFrame)]
        assert [goaway.last_stream_id for goaway in goaways] == [2**31 - 1, 1]
        proceed.set()
        assert await status_of(peer, 1) is Status.OK
        await peer.until_closed()
        await peer.stream.aclose()


# --- 9: close() leaves connections serving, and wait_closed() hangs --------------------------------


async def test_9_close_ends_idle_connections():
    """After close() an open connection gets GOAWAY and its end, and wait_closed() returns."""
    async with against_server() as (server, peer, _):
        await still_works(peer, 1)
        server.close()
        [goaway] = [frame for frame in await peer.until_closed() if isinstance(frame, GoAwayFrame)]
        assert goaway.error_code == ErrorCodes.NO_ERROR
        await peer.stream.aclose()
        await server.wait_closed()


async def test_9_close_fails_calls_in_flight():
    """close() ends calls in flight with UNAVAILABLE, cancels their handlers, and wait_closed() returns."""
    begun, cancelled = anyio.Event(), anyio.Event()

    class Slow(Echo):
        async def unary(self, request):
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    async with running(Slow()) as (server, _, stub), anyio.create_task_group() as tasks:
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        await begun.wait()
        server.close()
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.UNAVAILABLE
        await cancelled.wait()
        await server.wait_closed()


# --- 10: the code of a reset is always NO_ERROR ----------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "leave", "scope", "deadline"])
async def test_10_client_resets_with_cancel(how):
    """A call that the client gives up, in whichever way, is reset with CANCEL."""
    scope = anyio.CancelScope()

    async def chat():
        with scope:
            async with stub.chat(timeout=1 if how == "deadline" else None) as stream:
                await stream.send_message(b"hello")
                if how == "cancel":
                    await stream.cancel()
                elif how != "leave":
                    await stream.recv_message()

    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, chat)
        peer = await network.accept()
        await peer.read(HeadersFrame)
        if how == "scope":
            scope.cancel()
        assert (await peer.read(RstStreamFrame)).error_code == ErrorCodes.CANCEL
        with pytest.raises(grpclib.GRPCError) if how == "deadline" else nullcontext():
            await answer.get()


async def test_10_server_resets_with_cancel():
    """A handler that cancels its call resets it with CANCEL."""

    class Cancelling(Echo):
        async def chat(self, stream):
            await stream.cancel()

    async with against_server(Cancelling()) as (_, peer, _):
        await peer.send(peer.headers(1, request_headers(CHAT)))
        _, _, reset = await peer.response(1)
        assert reset == ErrorCodes.CANCEL


async def test_10_early_answer_resets_with_no_error():
    """RFC 9113 §8.1: an answer that is complete before the request is followed by RST_STREAM(NO_ERROR)."""

    class Early(Echo):
        async def chat(self, stream):
            await stream.send_message(b"enough")

    async with against_server(Early()) as (_, peer, _):
        await peer.send(peer.headers(1, request_headers(CHAT)))
        assert await status_of(peer, 1) is Status.OK
        assert (await peer.read(RstStreamFrame)).error_code == ErrorCodes.NO_ERROR
        await still_works(peer, 3)


# --- 11: the keepalive timer counts from the last ping sent -----------------------------------------


async def test_11_no_ping_without_need():
    """A busy connection is not pinged: whatever keeps one alive counts from the last byte read (gRFC A8)."""
    async with against_client() as (network, stub, tasks):

        async def calls():
            for _ in range(20):
                await stub.unary(b"hello")

        answer = Answer(tasks, calls)
        peer = await network.accept()
        for number in range(20):
            await peer.request()
            await peer.respond(2 * number + 1, b"hello")
        await answer.get()
        assert not [frame for frame in peer.seen if isinstance(frame, PingFrame)]


# --- 12: a lost connection is no GRPCError ---------------------------------------------------------


@pytest.mark.parametrize("kind", ["unary", "chat"])
async def test_12_lost_connection(kind):
    """A connection that ends in the middle of a call raises UNAVAILABLE, which ``except GRPCError`` catches."""

    async def chat():
        async with stub.chat() as stream:
            await stream.send_message(b"hello")
            await stream.recv_message()

    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, chat if kind == "chat" else lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.read(HeadersFrame)
        await peer.stream.aclose()
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert isinstance(caught.value, RpcError)
        assert (caught.value.status, caught.value.retryable) == (Status.UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCodes.CANCEL, Status.CANCELLED),
        (ErrorCodes.INTERNAL_ERROR, Status.INTERNAL),
        (ErrorCodes.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCodes.INADEQUATE_SECURITY, Status.PERMISSION_DENIED),
        (ErrorCodes.HTTP_1_1_REQUIRED, Status.UNKNOWN),
    ],
)
async def test_12_reset_by_the_server(code, status):
    """A call that the server resets raises the status of PROTOCOL-HTTP2 "Errors", as a GRPCError."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        await peer.request()
        await peer.send(peer.reset(1, code))
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is status


async def test_12_refused_call_is_made_again():
    """gRFC A6: REFUSED_STREAM is retried once, unseen by the caller; the second time it is UNAVAILABLE."""
    async with against_client() as (network, stub, tasks):
        answer = Answer(tasks, lambda: stub.unary(b"hello"))
        peer = await network.accept()
        for stream_id in (1, 3):
            assert (await peer.request())[0] == stream_id
            await peer.send(peer.reset(stream_id, ErrorCodes.REFUSED_STREAM))
        with pytest.raises(grpclib.GRPCError) as caught:
            await answer.get()
        assert caught.value.status is Status.UNAVAILABLE


async def test_12_no_server(free_tcp_port):
    """A port that nobody listens on is UNAVAILABLE, as a GRPCError that names it."""
    async with Channel(f"127.0.0.1:{free_tcp_port}", codec=RawCodec()) as channel:
        with pytest.raises(grpclib.GRPCError) as caught:
            await EchoStub(channel).unary(b"hello")
        assert caught.value.status is Status.UNAVAILABLE
        assert f"127.0.0.1:{free_tcp_port}" in caught.value.message
