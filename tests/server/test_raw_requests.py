"""A server against a client that speaks HTTP/2 frame by frame, right and wrong."""

import anyio
import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

from echo import Echo
from orbit_net.server import ServerSettings
from rawpeer import message, raw_client, request_headers
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio

ONE = message(b"x")


async def call(peer, stream_id, *, path="/test.Echo/Unary", body=ONE, **changes):
    """Send a request and return its ``(headers, body, trailers)``."""
    await peer.send(peer.headers(stream_id, request_headers(path, **changes)), peer.data(stream_id, body, end=True))
    return await peer.response(stream_id)


async def test_a_plain_call():
    """Headers with content type and accepted encodings, the message, trailers with the status: nothing else."""
    async with raw_client() as (_, peer):
        headers, body, trailers = await call(peer, 1)
    assert headers == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,gzip,deflate",
    }
    assert body == message(b"x")
    assert trailers == {"grpc-status": "0"}


async def test_te_may_be_missing():
    """A request without te is served, as grpc-go does."""
    async with raw_client() as (_, peer):
        assert (await call(peer, 1, te=None))[2] == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"path": "/test.Echo/Missing"}, {":status": "200", "grpc-status": "12"}),
        ({"path": "/test.echo/Unary"}, {":status": "200", "grpc-status": "12"}),
        ({"path": "//test.Echo/Unary"}, {":status": "200", "grpc-status": "12"}),
        ({"path": "test.Echo/Unary"}, {":status": "200", "grpc-status": "12"}),
        ({"path": "/test.Echo/Unary/"}, {":status": "200", "grpc-status": "12"}),
        ({"content_type": "text/plain"}, {":status": "415", "grpc-status": "2"}),
        ({"content_type": None}, {":status": "415", "grpc-status": "2"}),
        ({"method": "GET"}, {":status": "405"}),
        ({"grpc_timeout": "soon"}, {":status": "200", "grpc-status": "13"}),
        ({"x_bin": "***"}, {":status": "200", "grpc-status": "13"}),
        (
            {"grpc_encoding": "zip"},
            {"grpc-status": "12", "grpc-accept-encoding": "identity,gzip,deflate"},
        ),
        ({"x_big": "x" * 17_000}, {":status": "200", "grpc-status": "8"}),
    ],
)
async def test_rejections(changes, expected):
    """Each is a trailers-only answer with a content type, and the connection serves the next call."""
    async with raw_client() as (server, peer):
        headers, body, trailers = await call(peer, 1, **changes)
        assert headers is None
        assert body == b""
        assert trailers["content-type"] == "application/grpc"
        assert {name: trailers[name] for name in expected} == expected
        assert (await call(peer, 3))[2] == {"grpc-status": "0"}
        await assert_no_leaks(server)


async def test_two_messages_where_one_is_due():
    """UNIMPLEMENTED for a unary request of two messages, and for one of none."""
    async with raw_client() as (_, peer):
        for stream_id, body in ((1, message(b"a") + message(b"b")), (3, b"")):
            *_, trailers = await call(peer, stream_id, body=body)
            assert trailers["grpc-status"] == "12"
            assert "takes one message" in trailers["grpc-message"]
        assert (await call(peer, 5))[2] == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (message(b"x", flag=1), "13", "compressed without a grpc-encoding"),
        (message(b"x", flag=2), "13", "flag of a message is 2"),
        (message(b"abc")[:-1], "13", "middle of a message"),
        (b"\0\0\0", "13", "middle of a message"),
        (b"\0\xff\xff\xff\xff", "8", "larger than the limit of 4194304"),
    ],
)
async def test_broken_messages(body, status, text):
    """The call ends with the status of the fault; the connection goes on."""
    async with raw_client() as (server, peer):
        for stream_id, path in ((1, "/test.Echo/Unary"), (3, "/test.Echo/Sum"), (5, "/test.Echo/Chat")):
            *_, trailers = await call(peer, stream_id, path=path, body=body)
            assert trailers["grpc-status"] == status
            assert text in trailers["grpc-message"]
        assert (await call(peer, 7))[2] == {"grpc-status": "0"}
        await assert_no_leaks(server)


async def test_a_declared_length_is_refused_before_its_bytes():
    """RESOURCE_EXHAUSTED comes on the five bytes of the prefix, while the request is open; nothing is kept."""
    async with raw_client(settings=ServerSettings(max_receive_message=100)) as (server, peer):
        await peer.send(peer.headers(1, request_headers()), peer.data(1, b"\0\0\0\0\x65"))
        *_, trailers = await peer.response(1)
        assert trailers["grpc-status"] == "8"
        assert (await peer.read()).error_code == 0  # RST_STREAM(NO_ERROR): the rest is not needed
        await assert_no_leaks(server)


async def test_a_server_that_ends_early_says_so():
    """Trailers, then RST_STREAM(NO_ERROR), when the client has not half-closed."""

    class Early(Echo):
        async def chat(self, stream):
            await stream.send_message(b"done")

    async with raw_client(Early()) as (server, peer):
        await peer.send(peer.headers(1, request_headers("/test.Echo/Chat")))
        *_, trailers = await peer.response(1)
        assert trailers == {"grpc-status": "0"}
        reset = await peer.read()
        assert (type(reset), reset.error_code) == (RstStreamFrame, 0)
        await assert_no_leaks(server)


async def test_streams_above_the_limit_are_refused():
    """RST_STREAM(REFUSED_STREAM) on the stream; the connection and the other calls go on."""
    gate = anyio.Event()

    class Waiting(Echo):
        async def unary(self, request):
            await gate.wait()
            return request

    async with raw_client(Waiting(), settings=ServerSettings(max_concurrent_streams=2)) as (_, peer):
        for stream_id in (1, 3, 5):
            await peer.send(peer.headers(stream_id, request_headers()), peer.data(stream_id, message(b"x"), end=True))
        reset = await peer.read()
        assert (type(reset), reset.stream_id, reset.error_code) == (RstStreamFrame, 5, 7)
        gate.set()
        assert {(await peer.response(stream_id))[2]["grpc-status"] for stream_id in (1, 3)} == {"0"}


async def test_a_slot_is_free_when_the_handler_has_ended():
    """A reset stream counts while its handler runs, up to twice the limit (CVE-2023-44487)."""
    gate, begun = anyio.Event(), []

    class Stubborn(Echo):
        async def unary(self, request):
            begun.append(request)
            with anyio.move_on_after(5, shield=True):
                await gate.wait()
            return request

    async with raw_client(Stubborn(), settings=ServerSettings(max_concurrent_streams=1)) as (server, peer):
        for stream_id, number in ((1, 1), (3, 2)):
            await peer.send(peer.headers(stream_id, request_headers()), peer.data(stream_id, message(b"x"), end=True))
            await until(lambda number=number: len(begun) == number)
            await peer.send(peer.reset(stream_id, 8))
        await peer.send(peer.headers(5, request_headers()), peer.data(5, message(b"x"), end=True))
        assert (await peer.read()).error_code == 7
        gate.set()
        await assert_no_leaks(server)
        assert (await call(peer, 7))[2]["grpc-status"] == "0"


async def test_rapid_reset_ends_the_connection():
    """Thousands of streams opened and reset at once: GOAWAY(ENHANCE_YOUR_CALM), and no handler is left."""
    async with raw_client() as (server, peer):
        with anyio.move_on_after(5):
            try:
                for stream_id in range(1, 2_001, 2):
                    await peer.send(peer.headers(stream_id, request_headers()), peer.reset(stream_id, 8))
            except anyio.BrokenResourceError:
                pass
        frames = await peer.until_closed()
        [goaway] = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
        assert goaway.error_code == 11
        await until(lambda: server._workers.busy == 0)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"does not speak HTTP/2"),
    ],
)
async def test_clients_that_speak_something_else(data, named):
    """GOAWAY(PROTOCOL_ERROR) with the reason, then the connection is closed."""
    from memory import memory_pair
    from orbit_net.server import Server
    from rawpeer import RawPeer

    async with Server([Echo()]) as server:
        ours, theirs = memory_pair()
        async with anyio.create_task_group() as tasks, ours:
            tasks.start_soon(server.serve_stream, theirs)
            peer = RawPeer(ours)
            await peer.send(data)
            frames = await peer.until_closed()
    [goaway] = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
    assert goaway.error_code == 1
    assert named in goaway.additional_data


async def test_a_stream_error_leaves_the_other_calls():
    """DATA after the end of a request resets that stream; a call beside it is answered."""
    gate = anyio.Event()

    class Waiting(Echo):
        async def unary(self, request):
            await gate.wait()
            return request

    async with raw_client(Waiting()) as (server, peer):
        for stream_id in (1, 3):
            await peer.send(peer.headers(stream_id, request_headers()), peer.data(stream_id, message(b"x"), end=True))
        await peer.send(peer.data(1, b"more"))
        reset = await peer.read(RstStreamFrame)
        assert (reset.stream_id, reset.error_code) == (1, 5)
        gate.set()
        assert (await peer.response(3))[2]["grpc-status"] == "0"
        await assert_no_leaks(server)


async def test_the_client_goes_away():
    """End of stream cancels the handlers that still run, and they are awaited."""
    begun, ended = [], []

    class Waiting(Echo):
        async def unary(self, request):
            begun.append(request)
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(request)

    async with raw_client(Waiting()) as (server, peer):
        await peer.send(peer.headers(1, request_headers()), peer.data(1, message(b"x"), end=True))
        await until(lambda: begun)
        await peer.stream.aclose()
        await until(lambda: ended == [b"x"])
        await until(lambda: not server._connections)
        await assert_no_leaks(server)


async def test_an_expired_timeout_on_arrival():
    """The smallest timeout is enforced by the server alone: DEADLINE_EXCEEDED."""

    class Waiting(Echo):
        async def unary(self, request):
            await anyio.sleep_forever()

    async with raw_client(Waiting()) as (server, peer):
        *_, trailers = await call(peer, 1, grpc_timeout="1n")
        assert trailers["grpc-status"] == "4"
        await assert_no_leaks(server)


async def test_unread_requests_return_their_credit():
    """Handlers that read nothing give the connection's window back: what was announced covers what was sent."""

    class Deaf(Echo):
        async def sum(self, requests):
            return b"0"

    settings = ServerSettings(stream_window=65_536, connection_window=131_072)
    async with raw_client(Deaf(), settings=settings) as (server, peer):
        for number in range(20):
            stream_id = 2 * number + 1
            await peer.send(
                peer.headers(stream_id, request_headers("/test.Echo/Sum")),
                *[peer.data(stream_id, message(b"x" * 15_000)) for _ in range(4)],
            )
            assert (await peer.response(stream_id))[2]["grpc-status"] == "0"
        await assert_no_leaks(server)
        assert not [
            frame for frame in peer.seen if isinstance(frame, (DataFrame, HeadersFrame)) and frame.stream_id % 2 == 0
        ]
