"""Compressed calls from end to end, and against servers that compress as they like (compression.md)."""

import zlib
from random import Random

import pytest
from grpclib.const import Cardinality

from echo import Echo
from memory import in_memory
from orbit_net.client import ChannelSettings
from orbit_net.errors import ConfigurationError, LocalProtocolError, RpcError
from orbit_net.server import ServerSettings, current_call
from orbit_net.status import Status
from orbit_net.wire.assembler import CompressedMessage
from orbit_net.wire.compression import ENCODINGS
from rawpeer import OK_HEADERS, OK_TRAILERS, message, scripted
from settle import assert_no_leaks, connections_of

pytestmark = pytest.mark.anyio

TEXT = b"a text that repeats itself, " * 1_000
UNARY = "/test.Echo/Unary"
NUMBER = b"0" * 200 + b"7"


class Spy(Echo):
    """Remembers what the wire of the server received and sent."""

    def __init__(self):
        self.received = []
        self.sent = []

    def watch(self, connection):
        """Look at the messages of a connection of the server."""
        wire = connection.wire
        send = wire.send_message

        def send_message(stream_id, data, **options):
            self.sent.append(type(data) is CompressedMessage)
            return send(stream_id, data, **options)

        wire.send_message = send_message

    def _seen(self):
        call = current_call()
        connection = call._stream.connection
        if "send_message" not in vars(connection.wire):
            self.watch(connection)
        self.received.append(call._head.encoding)

    async def unary(self, request):
        self._seen()
        return request

    async def count(self, request):
        self._seen()
        yield request
        yield b"small"

    async def sum(self, requests):
        self._seen()
        return b"%d" % sum([int(request) async for request in requests]) + b" " * 100

    async def chat(self, stream):
        self._seen()
        async for request in stream:
            await stream.send_message(request)


async def all_kinds(stub, **options):
    """Make a call of each kind with messages that compress."""
    assert await stub.unary(TEXT, **options) == TEXT
    assert [reply async for reply in stub.count(TEXT, **options)] == [TEXT, b"small"]
    assert await stub.sum([NUMBER, b"1", NUMBER], **options) == b"15" + b" " * 100
    async with stub.chat(**options) as call:
        for request in (TEXT, b"", b"x", NUMBER):
            await call.send_message(request)
            assert await call.recv_message() == request
        await call.end()
        assert await call.recv_message() is None


@pytest.mark.parametrize("server", [None, *ENCODINGS])
@pytest.mark.parametrize("client", [None, *ENCODINGS])
async def test_all_kinds_of_call(client, server):
    """Each side's default holds for its own direction, in all four kinds; small messages travel plain."""
    spy = Spy()
    async with in_memory(
        spy,
        settings=ServerSettings(compression=server),
        channel_settings=ChannelSettings(compression=client),
    ) as (ours, channel, stub):
        await all_kinds(stub)
        await all_kinds(stub)
        await assert_no_leaks(ours, channel)
    assert spy.received == [client] * 8
    once = [True, True, False, True, True, False, False, True]
    assert spy.sent[-8:] == (once if server else [False] * 8)


@pytest.mark.parametrize("chosen", ENCODINGS)
async def test_a_call_chooses(chosen):
    """``compression=`` of a call wins over that of the stub, which wins over that of the channel."""
    spy = Spy()
    other = next(name for name in ENCODINGS if name != chosen)
    async with in_memory(spy, channel_settings=ChannelSettings(compression=other)) as (_, channel, stub):
        await all_kinds(stub, compression=chosen)
        await all_kinds(stub, compression="identity")
        await all_kinds(type(stub)(channel, compression=chosen))
        await all_kinds(type(stub)(channel, compression=chosen), compression=other)
        assert len(channel._methods) == 4 * 3
    assert spy.received == [chosen] * 4 + [None] * 4 + [chosen] * 4 + [other] * 4


async def test_an_unknown_compression_is_refused_before_anything_is_sent():
    """By a call, a channel, a server, and a handler."""
    async with in_memory() as (_, channel, stub):
        with pytest.raises(LocalProtocolError, match="'gzip', 'deflate', 'identity'"):
            await stub.unary(b"", compression="br")
        assert not connections_of(channel)
    for settings in (ChannelSettings, ServerSettings):
        with pytest.raises(ConfigurationError, match="compression is 'br'"):
            settings(compression="br")
        with pytest.raises(ConfigurationError, match="accept_compression"):
            settings(accept_compression=("br",))


async def test_single_messages_travel_plain():
    """``compress=False`` of ``send_message``, on both sides of a call that compresses."""
    requests, replies = [], []

    class Half(Echo):
        async def chat(self, stream):
            for _ in range(2):
                requests.append(await flag_of_next(stream._stream))
                message = await stream.recv_message()
                await stream.send_message(message, compress=len(message) == 1_000)

    async def flag_of_next(stream):
        while not stream.inbox:
            await stream.arrival()
        return type(stream.inbox[0]) is CompressedMessage

    async with in_memory(Half(), settings=ServerSettings(compression="gzip")) as (_, _, stub):
        async with stub.chat(compression="deflate") as call:
            for size in (1_000, 1_001):
                await call.send_message(bytes(size), compress=size == 1_001)
                replies.append(await flag_of_next(call._attempt.stream))
                assert await call.recv_message() == bytes(size)
            await call.end()
    assert requests == [False, True]
    assert replies == [True, False]


async def test_a_handler_chooses():
    """``set_compression`` wins over the server's default; not after the headers, and only what is known."""
    errors = []

    class Choosing(Echo):
        async def unary(self, request):
            call = current_call()
            name = call.metadata["wish"]
            try:
                call.set_compression(None if name == "none" else name)
            except LocalProtocolError as error:
                errors.append(str(error))
            return TEXT

        async def chat(self, stream):
            await stream.send_initial_metadata()
            with pytest.raises(LocalProtocolError, match="until the headers are sent"):
                stream.set_compression("gzip")
            errors.append("late")

    async with in_memory(Choosing(), settings=ServerSettings(compression="gzip")) as (_, channel, stub):
        seen = []
        for wish in ("deflate", "gzip", "none", "br"):
            async with channel.request(UNARY, Cardinality.UNARY_UNARY, bytes, bytes, metadata={"wish": wish}) as call:
                await call.send_message(b"")
                assert await call.recv_message() == TEXT
                seen.append(call._attempt.stream.headers.encoding)
        async with stub.chat() as call:
            await call.send_request(end=True)
            assert await call.recv_message() is None
    assert seen == ["deflate", "gzip", None, "gzip"]
    assert "'gzip' or 'deflate'" in errors[0]
    assert errors[1:] == ["late"]


async def test_replies_are_compressed_only_as_the_client_accepts():
    """A client that accepts less gets less, by default and by the handler's choice."""

    class Eager(Echo):
        async def unary(self, request):
            if request:
                current_call().set_compression(request.decode())
            return TEXT

    async with in_memory(
        Eager(),
        settings=ServerSettings(compression="gzip"),
        channel_settings=ChannelSettings(accept_compression=("deflate",)),
    ) as (_, channel, _):
        for wish, encoding in ((b"", None), (b"gzip", None), (b"deflate", "deflate")):
            async with channel.request(UNARY, Cardinality.UNARY_UNARY, bytes, bytes) as call:
                await call.send_message(wish)
                assert await call.recv_message() == TEXT
                assert call._attempt.stream.headers.encoding == encoding


async def test_a_server_that_accepts_nothing():
    """UNIMPLEMENTED for a compressing call, and the next one that does not compress is served."""
    async with in_memory(
        settings=ServerSettings(accept_compression=()), channel_settings=ChannelSettings(compression="gzip")
    ) as (_, _, stub):
        with pytest.raises(RpcError, match="gzip") as caught:
            await stub.unary(TEXT)
        assert caught.value.status is Status.UNIMPLEMENTED
        assert await stub.unary(TEXT, compression="identity") == TEXT


async def test_the_limits_count_uncompressed_bytes():
    """RESOURCE_EXHAUSTED in every direction: sending checks before compression, receiving after inflation."""
    size = len(TEXT)
    squeezing = {"compression": "gzip"}
    for server, client, text in (
        ({}, {"max_send_message": size - 1}, "larger than the limit"),
        ({"max_receive_message": size - 1}, {}, "after decompression"),
        ({"max_send_message": size - 1}, {}, "larger than the limit"),
        ({}, {"max_receive_message": size - 1}, "after decompression"),
    ):
        async with in_memory(
            settings=ServerSettings(**server, **squeezing),
            channel_settings=ChannelSettings(**client, **squeezing),
        ) as (ours, channel, stub):
            with pytest.raises(RpcError, match=text) as caught:
                await stub.unary(TEXT)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
            assert await stub.unary(TEXT[:1_000]) == TEXT[:1_000]
            await assert_no_leaks(ours, channel)


async def test_many_compressed_messages_return_their_credit():
    """Windows count what travelled: many times the window passes through one call."""
    noise = Random(1).randbytes(30_000).hex().encode()
    async with in_memory(
        settings=ServerSettings(compression="gzip"), channel_settings=ChannelSettings(compression="deflate")
    ) as (ours, channel, stub):
        async with stub.chat() as call:
            for _ in range(40):
                await call.send_message(noise)
                assert await call.recv_message() == noise
            await call.end()
        await assert_no_leaks(ours, channel)


# --- servers that compress as they like ------------------------------------------------------------

GZIP = zlib.compress(b"hello", 6, 31)


def answering(body, *headers):
    """Return a script that answers each request with ``body``."""

    async def script(peer):
        await peer.accept()
        while True:
            stream_id, *_ = await peer.request()
            await peer.send(
                peer.headers(stream_id, [*OK_HEADERS, *headers]),
                peer.data(stream_id, body),
                peer.headers(stream_id, OK_TRAILERS, end=True),
            )

    return script


@pytest.mark.parametrize(
    ("body", "encoding", "status", "text"),
    [
        (message(GZIP, flag=1), None, Status.INTERNAL, "without a grpc-encoding"),
        (message(GZIP, flag=1), "identity", Status.INTERNAL, "without a grpc-encoding"),
        (message(GZIP, flag=1), "snappy", Status.INTERNAL, "'snappy' that is not accepted"),
        (message(GZIP, flag=1), "deflate", Status.INTERNAL, "not in the deflate format"),
        (message(GZIP[:-1], flag=1), "gzip", Status.INTERNAL, "cut short"),
        (message(GZIP + b"!", flag=1), "gzip", Status.INTERNAL, "followed by other bytes"),
        (message(b"", flag=1), "gzip", Status.INTERNAL, "cut short"),
        (message(GZIP, flag=2), "gzip", Status.INTERNAL, "flag of a message is 2"),
    ],
)
async def test_broken_replies(body, encoding, status, text):
    """The fault is the status of the call, and the connection serves the next one."""
    headers = [] if encoding is None else [("grpc-encoding", encoding)]
    async with scripted(answering(body, *headers)) as (channel, stub):
        for _ in range(2):
            with pytest.raises(RpcError, match=text) as caught:
                await stub.unary(b"")
            assert caught.value.status is status
        assert len(connections_of(channel)) == 1
        await assert_no_leaks(channel)


async def test_plain_replies_under_an_encoding():
    """An encoding that we do not know matters only to messages that are compressed with it."""
    async with scripted(answering(message(b"plain"), ("grpc-encoding", "snappy"))) as (_, stub):
        assert await stub.unary(b"") == b"plain"


async def test_a_gzip_reply():
    """What the peer's own zlib made is read."""
    async with scripted(answering(message(GZIP, flag=1), ("grpc-encoding", "gzip"))) as (_, stub):
        assert await stub.unary(b"") == b"hello"


async def test_a_bomb_as_a_reply():
    """RESOURCE_EXHAUSTED at the limit, and the connection lives (CVE-2024-37168)."""
    bomb = zlib.compress(bytes(12_000_000), 9, 31)
    async with scripted(answering(message(bomb, flag=1), ("grpc-encoding", "gzip"))) as (channel, stub):
        with pytest.raises(RpcError, match="after decompression") as caught:
            await stub.unary(b"")
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        await assert_no_leaks(channel)


async def test_the_request_headers_tell():
    """grpc-encoding only in a call that compresses; grpc-accept-encoding always; the flag on the messages."""
    seen = []

    async def script(peer):
        await peer.accept()
        while True:
            stream_id, fields, body = await peer.request()
            seen.append((fields.get("grpc-encoding"), fields["grpc-accept-encoding"], body[0]))
            await peer.respond(stream_id, b"")

    async with scripted(script, settings=ChannelSettings(accept_compression=("gzip",))) as (_, stub):
        for options in ({}, {"compression": "gzip"}, {"compression": "deflate"}, {"compression": "identity"}):
            await stub.unary(TEXT, **options)
        await stub.unary(b"tiny", compression="gzip")
    accepts = "identity,gzip"
    assert seen == [
        (None, accepts, 0),
        ("gzip", accepts, 1),
        ("deflate", accepts, 1),
        (None, accepts, 0),
        ("gzip", accepts, 0),
    ]


async def test_a_transparent_retry_sends_the_same_compressed_messages():
    """A request that is sent again, after REFUSED_STREAM, keeps its flag."""
    bodies = []

    async def script(peer):
        await peer.accept()
        stream_id, _, body = await peer.request()
        bodies.append(body)
        await peer.send(peer.reset(stream_id, 7))
        stream_id, _, body = await peer.request()
        bodies.append(body)
        await peer.respond(stream_id, b"done")

    async with scripted(script) as (_, stub):
        assert await stub.unary(TEXT, compression="gzip") == b"done"
    assert bodies[0] == bodies[1]
    assert bodies[0][0] == 1
