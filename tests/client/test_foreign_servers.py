"""A client against servers that answer frame by frame, right and wrong."""

import anyio
import pytest
from grpclib.const import Cardinality
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame

from orbit_net.client import ChannelSettings
from orbit_net.errors import RpcError
from orbit_net.status import STATUS_BY_NUMBER, Status
from rawpeer import OK_HEADERS, OK_TRAILERS, message, scripted

pytestmark = pytest.mark.anyio

HTTP = {
    "400": Status.INTERNAL,
    "401": Status.UNAUTHENTICATED,
    "403": Status.PERMISSION_DENIED,
    "404": Status.UNIMPLEMENTED,
    "429": Status.UNAVAILABLE,
    "502": Status.UNAVAILABLE,
    "503": Status.UNAVAILABLE,
    "504": Status.UNAVAILABLE,
    "302": Status.UNKNOWN,
    "500": Status.UNKNOWN,
}
RESETS = {
    0: Status.INTERNAL,
    1: Status.INTERNAL,
    2: Status.INTERNAL,
    3: Status.INTERNAL,
    4: Status.INTERNAL,
    5: Status.UNKNOWN,
    6: Status.INTERNAL,
    8: Status.CANCELLED,
    9: Status.INTERNAL,
    10: Status.INTERNAL,
    11: Status.RESOURCE_EXHAUSTED,
    12: Status.PERMISSION_DENIED,
    13: Status.UNKNOWN,
    255: Status.UNKNOWN,
}


def answering(*answers):
    """Return a script that answers the n-th request with the frames that ``answers[n](peer, stream_id)`` gives."""

    async def script(peer):
        await peer.accept()
        for answer in answers:
            stream_id, _, _ = await peer.request()
            await peer.send(*answer(peer, stream_id))
        await peer.until_closed()

    return script


def fine(peer, stream_id):
    """Answer as a server should."""
    return (
        peer.headers(stream_id, OK_HEADERS),
        peer.data(stream_id, message(b"fine")),
        peer.headers(stream_id, OK_TRAILERS, end=True),
    )


async def error_of(answer, **options):
    """Return the error of a unary call that is answered so; the next call on the connection must succeed."""
    async with scripted(answering(answer, fine)) as (channel, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", **options)
        assert await stub.unary(b"x") == b"fine"
        assert channel.subchannel._connector.connects == 1
        assert not len(channel.timers)
    return raised.value


@pytest.mark.parametrize(("code", "status"), HTTP.items())
async def test_http_statuses(code, status):
    """A web server's answer, with a body or without, becomes the status of the public mapping."""

    def page(peer, stream_id):
        headers = [(":status", code), ("content-type", "text/html")]
        return peer.headers(stream_id, headers), peer.data(stream_id, b"<html>", end=True)

    def bare(peer, stream_id):
        return (peer.headers(stream_id, [(":status", code)], end=True),)

    for answer in (page, bare):
        error = await error_of(answer)
        assert error.status is status
        assert f"HTTP status {code}" in error.message


@pytest.mark.parametrize(("code", "status"), RESETS.items())
async def test_resets(code, status):
    """RST_STREAM before or after the headers of a response becomes the status of the public table."""
    for prefix in (False, True):

        def reset(peer, stream_id, prefix=prefix):
            frames = [peer.headers(stream_id, OK_HEADERS)] if prefix else []
            return *frames, peer.reset(stream_id, code)

        error = await error_of(reset)
        assert error.status is status
        assert error.message.startswith("the peer reset the call with ")


async def test_a_cancel_near_our_deadline_is_the_deadline():
    """A server that enforces the deadline may be a moment ahead: its CANCEL is DEADLINE_EXCEEDED."""
    error = await error_of(lambda peer, stream_id: (peer.reset(stream_id, 8),), timeout=0.05)
    assert error.status is Status.DEADLINE_EXCEEDED
    error = await error_of(lambda peer, stream_id: (peer.reset(stream_id, 8),), timeout=60)
    assert error.status is Status.CANCELLED


async def test_a_reset_without_error_after_complete_trailers():
    """NO_ERROR after the trailers is how a server says that it needs no more of the request."""

    def answer(peer, stream_id):
        return *fine(peer, stream_id), peer.reset(stream_id, 0)

    async with scripted(answering(answer, answer)) as (_, stub):
        assert await stub.unary(b"x") == b"fine"
        assert await stub.unary(b"x") == b"fine"


@pytest.mark.parametrize("number", range(17))
async def test_every_status(number):
    """Trailers-only answers carry every status, and OK without a message is UNIMPLEMENTED for a unary call."""
    headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(number))]
    error = await error_of(lambda peer, stream_id: (peer.headers(stream_id, headers, end=True),))
    assert error.status is (STATUS_BY_NUMBER[number] if number else Status.UNIMPLEMENTED)


@pytest.mark.parametrize(
    ("headers", "trailers", "status", "text"),
    [
        (OK_HEADERS, [("grpc-status", "99"), ("grpc-message", "odd")], Status.UNKNOWN, "unknown grpc-status 99: odd"),
        (OK_HEADERS, [("grpc-status", "abc")], Status.UNKNOWN, "unknown grpc-status abc"),
        (OK_HEADERS, [("x-other", "1")], Status.UNKNOWN, "without grpc-status"),
        ([(":status", "200"), ("content-type", "text/html")], OK_TRAILERS, Status.UNKNOWN, "'text/html'"),
        ([(":status", "200")], OK_TRAILERS, Status.UNKNOWN, "content-type is missing"),
    ],
)
async def test_odd_headers_and_trailers(headers, trailers, status, text):
    """Whatever is not gRPC is UNKNOWN, with what was found in the text."""

    def answer(peer, stream_id):
        return (
            peer.headers(stream_id, headers),
            peer.data(stream_id, message(b"x")),
            peer.headers(stream_id, trailers, end=True),
        )

    error = await error_of(answer)
    assert error.status is status
    assert text in error.message


async def test_a_body_that_ends_without_trailers():
    """UNKNOWN: the status is missing."""

    def answer(peer, stream_id):
        return peer.headers(stream_id, OK_HEADERS), peer.data(stream_id, message(b"x"), end=True)

    error = await error_of(answer)
    assert error.status is Status.UNKNOWN
    assert "without grpc-status" in error.message


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (message(b"x", flag=1), Status.INTERNAL, "compressed"),
        (b"\0\0\0\0\x05abc", Status.INTERNAL, "middle of a message"),
        (b"\0\x00\x40\x00\x01", Status.RESOURCE_EXHAUSTED, "4194305 bytes is larger than the limit of 4194304"),
        (message(b"a") + message(b"b"), Status.UNIMPLEMENTED, "more than one message"),
        (b"", Status.UNIMPLEMENTED, "without a message"),
    ],
)
async def test_broken_bodies(body, status, text):
    """The fault is the status of the call, and nothing else suffers."""

    def answer(peer, stream_id):
        data = [peer.data(stream_id, body)] if body else []
        return peer.headers(stream_id, OK_HEADERS), *data, peer.headers(stream_id, OK_TRAILERS, end=True)

    error = await error_of(answer)
    assert error.status is status
    assert text in error.message


async def test_two_replies_to_a_call_that_takes_one():
    """UNIMPLEMENTED also when the caller leaves after the first reply, because the rest is checked."""

    def answer(peer, stream_id):
        return (
            peer.headers(stream_id, OK_HEADERS),
            peer.data(stream_id, message(b"a") + message(b"b")),
            peer.headers(stream_id, OK_TRAILERS, end=True),
        )

    async with scripted(answering(answer)) as (channel, _):
        with pytest.raises(RpcError) as raised:
            async with channel.request("/a.B/C", Cardinality.STREAM_UNARY, bytes, bytes) as call:
                await call.send_request(end=True)
                assert await call.recv_message() == b"a"
        assert raised.value.status is Status.UNIMPLEMENTED


async def test_informational_headers_are_skipped():
    """1xx headers before the response mean nothing to gRPC."""

    def answer(peer, stream_id):
        return peer.headers(stream_id, [(":status", "103"), ("link", "x")]), *fine(peer, stream_id)

    async with scripted(answering(answer)) as (_, stub):
        assert await stub.unary(b"x") == b"fine"


async def test_too_many_headers():
    """RESOURCE_EXHAUSTED for response headers above 16 KiB; the connection lives."""
    headers = [*OK_HEADERS, ("x-big", "x" * 17_000)]
    error = await error_of(lambda peer, stream_id: (peer.headers(stream_id, headers),))
    assert error.status is Status.RESOURCE_EXHAUSTED


async def test_the_peer_is_told_of_its_fault():
    """A broken response is reset by us with a code that says so."""
    seen = []

    async def script(peer):
        await peer.accept()
        stream_id, _, _ = await peer.request()
        await peer.send(peer.data(stream_id, b"DATA before headers"))
        seen.append((await peer.read(RstStreamFrame)).error_code)

    async with scripted(script) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
    assert raised.value.status is Status.INTERNAL
    assert seen in ([1], [5])


async def test_a_connection_error_fails_every_call_with_one_reason():
    """A server that breaks HTTP/2: all calls UNAVAILABLE with the same text, GOAWAY flushed, then a new connection."""
    goaways = []

    async def script(peer):
        await peer.accept()
        if goaways:
            stream_id, _, _ = await peer.request()
            await peer.send(*fine(peer, stream_id))
            await peer.until_closed()
            return
        for _ in range(3):
            await peer.read(HeadersFrame)
        await peer.send(peer.window(0, 2**31 - 1))
        goaways.append(await peer.read(GoAwayFrame))

    errors = []

    async def call(stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        errors.append(raised.value)

    async with scripted(script) as (_, stub):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call, stub)
        assert await stub.unary(b"x") == b"fine"
    assert {error.status for error in errors} == {Status.UNAVAILABLE}
    assert len({error.message for error in errors}) == 1
    assert "overflow" in errors[0].message
    assert goaways[0].error_code == 3


async def test_the_size_limit_of_the_channel():
    """max_receive_message is the channel's own; a message of exactly that size is fine."""

    def big(peer, stream_id):
        return (
            peer.headers(stream_id, OK_HEADERS),
            peer.data(stream_id, message(b"x" * 11)),
            peer.headers(stream_id, OK_TRAILERS, end=True),
        )

    def exact(peer, stream_id):
        return (
            peer.headers(stream_id, OK_HEADERS),
            peer.data(stream_id, message(b"x" * 10)),
            peer.headers(stream_id, OK_TRAILERS, end=True),
        )

    async with scripted(answering(big, exact), settings=ChannelSettings(max_receive_message=10)) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"")
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"") == b"x" * 10
