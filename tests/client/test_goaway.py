"""GOAWAY, and calls that a server certainly never saw (RFC 9113 §6.8; gRFC A6 "Transparent Retries")."""

import anyio
import pytest
from grpclib.const import Cardinality

from orbit_net.client import Connectivity
from orbit_net.errors import RpcError
from orbit_net.status import Status
from rawpeer import OK_HEADERS, OK_TRAILERS, message, scripted
from settle import assert_no_leaks, connections_of, until

pytestmark = pytest.mark.anyio

REFUSED = 7


def server_of(*connections):
    """Return a script that plays one function for each connection in turn, and the requests that were answered."""
    left = list(connections)
    served = []

    async def script(peer):
        await peer.accept()
        await left.pop(0)(peer, served)
        await peer.until_closed()

    return script, served


async def answer(peer, served, number=100):
    """Answer ``number`` requests with their own bodies."""
    for _ in range(number):
        stream_id, fields, body = await peer.request()
        served.append((fields[":path"], body))
        await peer.send(
            peer.headers(stream_id, OK_HEADERS),
            peer.data(stream_id, body or message()),
            peer.headers(stream_id, OK_TRAILERS, end=True),
        )


async def test_a_new_connection_while_the_old_one_finishes():
    """After a GOAWAY the next call goes to a new connection, and a call at or below last-id ends on the old one."""
    old, finish = [], anyio.Event()

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        old.append(stream_id)
        await peer.send(peer.goaway(stream_id))
        await finish.wait()
        await peer.respond(stream_id, b"from the old one")

    script, _ = server_of(first, answer)
    async with scripted(script) as (channel, stub):
        replies = []

        async def call():
            replies.append(await stub.unary(b"x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: old and channel.state is Connectivity.IDLE)
            assert await stub.unary(b"new") == b"new"
            assert len(connections_of(channel)) == 2
            finish.set()
        assert replies == [b"from the old one"]
        await until(lambda: len(connections_of(channel)) == 1)
        assert channel.subchannel._connector.connects == 2
        await assert_no_leaks(channel)


async def test_streams_above_the_last_id_are_tried_again():
    """A call that the server did not see is sent again on a new connection, messages and all, without the user."""

    async def first(peer, served):
        await peer.request()
        await peer.send(peer.goaway(0))

    script, served = server_of(first, answer)
    async with scripted(script) as (channel, stub):
        assert await stub.unary(b"again") == b"again"
        assert served == [("/test.Echo/Unary", message(b"again"))]
        await assert_no_leaks(channel)


async def test_a_refused_stream_is_tried_again():
    """REFUSED_STREAM on the same connection: the whole of a finished request is replayed once."""

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        await peer.send(peer.reset(stream_id, REFUSED))
        stream_id, _, body = await peer.request()
        served.append(body)
        await peer.respond(stream_id, b"fine")

    script, served = server_of(first)
    async with scripted(script) as (channel, stub):
        assert await stub.sum([b"1", b"2", b"3"]) == b"fine"
        assert served == [message(b"1") + message(b"2") + message(b"3")]
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(channel)


async def test_an_empty_request_is_tried_again():
    """A request without messages is ended on the new stream too."""

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        await peer.send(peer.reset(stream_id, REFUSED))
        stream_id, _, body = await peer.request()
        served.append(body)
        await peer.respond(stream_id, b"fine")

    script, served = server_of(first)
    async with scripted(script) as (channel, stub):
        assert await stub.sum([]) == b"fine"
        assert served == [b""]
        await assert_no_leaks(channel)


async def test_only_once():
    """A second refusal is UNAVAILABLE."""

    async def first(peer, served):
        for _ in range(2):
            stream_id, _, _ = await peer.request()
            await peer.send(peer.reset(stream_id, REFUSED))
        await answer(peer, served)

    script, served = server_of(first)
    async with scripted(script) as (channel, stub):
        with pytest.raises(RpcError, match="REFUSED_STREAM") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        assert await stub.unary(b"y") == b"y"
        assert served == [("/test.Echo/Unary", message(b"y"))]
        await assert_no_leaks(channel)


async def test_not_after_headers():
    """A call whose response has begun is committed."""

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        await peer.send(peer.headers(stream_id, OK_HEADERS), peer.reset(stream_id, REFUSED))
        await answer(peer, served)

    script, served = server_of(first)
    async with scripted(script) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        assert served == []


async def test_not_when_too_much_was_sent():
    """Beyond 256 KiB the messages are not kept, so the call fails as it fails."""

    async def first(peer, served):
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=2**20), peer.window(0, 2**20))
        stream_id, _, _ = await peer.request()
        await peer.send(peer.reset(stream_id, REFUSED))
        await peer.until_closed()

    script, _ = server_of(first)
    async with scripted(script) as (channel, stub):
        with pytest.raises(RpcError) as raised:
            await stub.sum([b"x" * 100_000] * 3)
        assert raised.value.status is Status.UNAVAILABLE
        await assert_no_leaks(channel)


async def test_not_for_other_resets():
    """INTERNAL_ERROR may have been seen by the application: it is not tried again."""

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        await peer.send(peer.reset(stream_id, 2))
        await answer(peer, served)

    script, served = server_of(first)
    async with scripted(script) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.INTERNAL
        assert served == []


@pytest.mark.parametrize("how", ["refused", "goaway"])
async def test_full_duplex(how):
    """A call with one task that sends and one that receives is tried again for both, and loses or repeats nothing."""

    async def first(peer, served):
        frame = await peer.read()
        await peer.read()
        await peer.send(peer.reset(frame.stream_id, REFUSED) if how == "refused" else peer.goaway(0))
        if how == "refused":
            await answer(peer, served)

    script, served = server_of(first, answer)
    async with scripted(script) as (channel, stub):
        async with stub.chat() as call, anyio.create_task_group() as tasks:

            async def send():
                await call.send_message(b"1")
                await until(lambda: call._attempt._retries)
                await call.send_message(b"2")
                await call.end()

            tasks.start_soon(send)
            assert await call.recv_message() == b"1"
            assert await call.recv_message() == b"2"
            assert await call.recv_message() is None
        assert served == [("/test.Echo/Chat", message(b"1") + message(b"2"))]
        await assert_no_leaks(channel)


async def test_both_tasks_notice_at_once():
    """The sender waits for room and the receiver for a reply when the stream is refused: one retry serves both."""
    settings = {"INITIAL_WINDOW_SIZE": 10}
    served = []

    async def script(peer):
        if not served:
            served.append("first")
            await peer.accept(**settings)
            await peer.read()
            await peer.read()
            await peer.send(peer.goaway(0))
        else:
            await peer.accept(INITIAL_WINDOW_SIZE=2**20)
            await peer.send(peer.window(0, 2**20))
            stream_id, _, body = await peer.request()
            await peer.respond(stream_id, b"%d" % len(body))
        await peer.until_closed()

    async with scripted(script) as (channel, stub):
        async with stub.chat() as call, anyio.create_task_group() as tasks:

            async def send():
                for _ in range(4):
                    await call.send_message(b"x" * 50_000)
                await call.end()

            await call.send_request()
            tasks.start_soon(send)
            assert await call.recv_message() == b"%d" % (4 * 50_005)
            assert await call.recv_message() is None
        await assert_no_leaks(channel)


async def test_several_calls_of_one_goaway():
    """Of twenty calls those at or below last-id end where they are, the others on the new connection: none fails."""

    async def first(peer, served):
        for _ in range(20):
            await peer.request()
        await peer.send(peer.goaway(19))
        for stream_id in range(1, 20, 2):
            await peer.respond(stream_id, b"old")

    script, served = server_of(first, answer)
    replies = []
    async with scripted(script) as (channel, stub):
        async with anyio.create_task_group() as tasks:

            async def call(number):
                replies.append(await stub.unary(b"%d" % number))

            for number in range(20):
                tasks.start_soon(call, number)
        assert replies.count(b"old") == 10
        assert len(served) == 10
        await assert_no_leaks(channel)


async def test_the_two_steps_of_a_drain():
    """GOAWAY(2³¹−1) fails no call; streams opened before the second GOAWAY are finished."""
    ready = anyio.Event()

    async def first(peer, served):
        first_id, _, _ = await peer.request()
        await peer.send(peer.goaway(2**31 - 1))
        ready.set()
        await peer.send(peer.goaway(first_id))
        await peer.respond(first_id, b"finished")

    script, _ = server_of(first, answer)
    async with scripted(script) as (channel, stub):
        assert await stub.unary(b"x") == b"finished"
        assert await stub.unary(b"y") == b"y"
        await until(lambda: len(connections_of(channel)) == 1)


async def test_a_retry_that_cannot_connect():
    """A call that must be sent again while no connection can be made is UNAVAILABLE, with that reason."""

    async def first(peer, served):
        await peer.request()
        await peer.send(peer.goaway(0))

    script, _ = server_of(first)
    async with scripted(script) as (channel, stub):
        network = channel.subchannel._connector

        async def once():
            if network.connects:
                raise OSError("gone for good")
            return await network()

        channel.subchannel._connector = once
        with pytest.raises(RpcError, match="gone for good") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        await assert_no_leaks(channel)


async def test_an_unclean_goaway_names_its_reason():
    """A call that is lost after GOAWAY(ENHANCE_YOUR_CALM) says what the server said."""

    async def first(peer, served):
        stream_id, _, _ = await peer.request()
        await peer.send(peer.goaway(stream_id, 11, b"too_many_pings"))
        await peer.stream.aclose()

    script, _ = server_of(first)
    async with scripted(script) as (channel, _):
        with pytest.raises(RpcError) as raised:
            async with channel.request("/a.B/C", Cardinality.UNARY_UNARY, bytes, bytes) as call:
                await call.send_message(b"x")
                await call.recv_message()
        assert raised.value.status is Status.UNAVAILABLE
        assert "too_many_pings" in raised.value.message


async def farewell(peer):
    """Say goodbye together with the SETTINGS, so that the connection is never used."""
    await peer.send(peer.settings(), peer.goaway(0))


async def test_a_server_that_goes_while_it_accepts():
    """A goodbye before the first call is no failed attempt: the next one is made at once, and no call is refused."""
    made = []

    async def script(peer):
        made.append(peer)
        if len(made) <= 3:
            await farewell(peer)
        else:
            await peer.accept()
            await answer(peer, [])

    async with scripted(script) as (channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert len(made) == 4
        assert channel.state is Connectivity.READY


async def test_a_server_that_always_goes():
    """Goodbyes without end are a failure, with the usual backoff: the call is refused."""
    made = []

    async def script(peer):
        made.append(peer)
        await farewell(peer)

    async with scripted(script) as (channel, stub):
        with pytest.raises(RpcError, match="the server is going away") as caught:
            await stub.unary(b"x")
        assert caught.value.status is Status.UNAVAILABLE
        assert len(made) == 4
        assert channel.state is Connectivity.TRANSIENT_FAILURE
