"""Calls that are tried again by the policy of a service config (gRFC A6), against a server that plays a script."""

from contextlib import asynccontextmanager

import anyio
import pytest
from grpclib.const import Cardinality
from grpclib.events import RecvInitialMetadata, RecvTrailingMetadata, listen

from delays import Delays, retrying
from echo import Echo, EchoStub, RawCodec
from memory import HANG, in_memory
from orbit_net.client import (
    Channel,
    ChannelSettings,
    RetryPolicy,
    RetrySettings,
    ServiceConfig,
    TransportConfig,
)
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from rawpeer import OK_HEADERS, OK_TRAILERS, message, scripted
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio

REFUSED = 7
ATTEMPTS = "grpc-previous-rpc-attempts"


def failure(status=14, **trailers):
    """Return a trailers-only response."""
    more = [(name.replace("_", "-"), value) for name, value in trailers.items()]
    return [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(status)), *more]


class Script:
    """Answers each request with the next of ``answers``: header fields for a trailers-only response, bytes for a reply.

    ``seen`` are the requests: ``(previous attempts, body)``. After the answers it echoes.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.seen = []

    async def __call__(self, peer):
        await peer.accept(INITIAL_WINDOW_SIZE=2**21)
        await peer.send(peer.window(0, 2**21))
        while True:
            stream_id, fields, body = await peer.request()
            self.seen.append((int(fields.get(ATTEMPTS, "0")), body))
            answer = self.answers.pop(0) if self.answers else b"fine"
            if isinstance(answer, list):
                await peer.send(peer.headers(stream_id, answer, end=True))
            elif isinstance(answer, int):
                await peer.send(peer.reset(stream_id, answer))
            else:
                await peer.respond(stream_id, answer)


@asynccontextmanager
async def served(script, config=None, **options):
    """Give ``(channel, stub, delays)``."""
    async with scripted(script, service_config=config or retrying(), **options) as (channel, stub):
        yield channel, stub, Delays(channel)


async def finished(channel):
    """Nothing of a call is left: no timer, no delay, no byte kept."""
    await assert_no_leaks(channel)
    assert channel.retrying.budget.used == 0
    assert not channel.retrying._delays


async def while_delays_end(delays, number, call):
    """Await ``call`` while ``number`` delays are ended one after the other."""

    async def end():
        for _ in range(number):
            await delays.end()

    error = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        try:
            return await call
        except RpcError as raised:
            error = raised  # not through the group, which would put it into another one
    raise error


async def test_until_it_succeeds():
    """A trailers-only failure is retried with the messages of before, the attempts are numbered, the delays grow."""
    script = Script(failure(), failure(), failure())
    async with served(script) as (channel, stub, delays):
        assert await while_delays_end(delays, 3, stub.unary(b"x")) == b"fine"
        assert script.seen == [(number, message(b"x")) for number in range(4)]
        for asked, base in zip(delays.asked, (0.1, 0.2, 0.4), strict=True):
            assert 0.8 * base <= asked <= 1.2 * base
        await finished(channel)


async def test_the_last_failure_is_raised():
    """After the last attempt the call fails as that failed, with its trailing metadata."""
    script = Script(*[failure(14, x_number=str(number)) for number in range(9)])
    async with served(script) as (channel, stub, delays):
        with pytest.raises(RpcError) as raised:
            await while_delays_end(delays, 3, stub.unary(b"x"))
        assert raised.value.status is Status.UNAVAILABLE
        assert raised.value.trailing_metadata == {"x-number": "3"}
        assert len(script.seen) == 4
        await finished(channel)


async def test_at_most_five():
    """Of a hundred configured attempts five are made."""
    script = Script(*[failure() for _ in range(9)])
    async with served(script, retrying(maxAttempts=100)) as (_, stub, delays):
        with pytest.raises(RpcError):
            await while_delays_end(delays, 4, stub.unary(b"x"))
        assert len(script.seen) == 5


async def test_other_statuses_are_not_retried():
    """A status that the policy does not name ends the call at once."""
    script = Script(failure(13))
    async with served(script) as (channel, stub, delays):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.INTERNAL
        assert delays.asked == []
        await finished(channel)


async def test_not_after_headers():
    """A failure that follows response headers is final."""

    async def script(peer):
        await peer.accept()
        stream_id, _, _ = await peer.request()
        await peer.send(peer.headers(stream_id, OK_HEADERS), peer.headers(stream_id, [("grpc-status", "14")], end=True))
        await peer.until_closed()

    async with served(script) as (channel, stub, delays):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        assert delays.asked == []
        await finished(channel)


async def test_not_for_a_sender_that_has_not_seen_the_headers():
    """Headers that nobody has read commit a call too: the sending task does not begin again."""

    async def script(peer):
        await peer.accept()
        frame = await peer.read()
        await peer.send(peer.headers(frame.stream_id, OK_HEADERS), peer.reset(frame.stream_id, REFUSED))
        await peer.until_closed()

    async with served(script) as (_, stub, delays), stub.chat() as call:
        await call.send_request()
        await until(lambda: call._attempt.stream.failure)
        with pytest.raises(RpcError):
            await call.send_message(b"x")
        assert delays.asked == []


@pytest.mark.parametrize("how", ["call", "stub", "channel"])
async def test_opting_out(how):
    """No policy holds for a call, a stub or a channel that does not want one."""
    script = Script(failure())
    settings = ChannelSettings(retry=RetrySettings(enabled=how != "channel"))
    async with served(script, settings=settings) as (_, stub, delays):
        with pytest.raises(RpcError):
            if how == "call":
                await stub.having(retry=False).unary(b"x")
            elif how == "stub":
                await EchoStub(stub.channel, retry=False).unary(b"x")
            else:
                await stub.unary(b"x")
        assert delays.asked == []
        assert len(script.seen) == 1


@pytest.mark.parametrize("config", [{}, None], ids=["without a config", "instead of a config"])
async def test_a_policy_of_its_own(config):
    """A call may bring its policy: its statuses and its number of attempts count, whatever the service config says."""
    policy = RetryPolicy(
        max_attempts=2,
        initial_backoff=3.0,
        max_backoff=3.0,
        backoff_multiplier=1.0,
        retryable_status_codes=frozenset({Status.ABORTED}),
    )
    script = Script(failure(10), failure(14))
    async with served(script, config if config is None else ServiceConfig()) as (channel, stub, delays):
        with pytest.raises(RpcError) as raised:
            await while_delays_end(delays, 1, stub.having(retry=policy).unary(b"x"))
        assert raised.value.status is Status.UNAVAILABLE
        assert [round(asked) in range(2, 5) for asked in delays.asked] == [True]
        assert len(script.seen) == 2
        await finished(channel)


async def test_a_policy_of_its_own_on_a_channel_without_retries():
    """RetrySettings(enabled=False) is the last word."""
    script = Script(failure())
    settings = ChannelSettings(retry=RetrySettings(enabled=False))
    async with served(script, settings=settings) as (_, stub, delays):
        policy = TransportConfig().service_config().methods[0].retry
        with pytest.raises(RpcError):
            await stub.having(retry=policy).unary(b"x")
        assert delays.asked == []


async def test_opting_out_keeps_transparent_retries():
    """A call that the server never saw is tried again all the same."""
    script = Script(REFUSED)
    async with served(script) as (_, stub, _):
        assert await stub.having(retry=False).unary(b"x") == b"fine"


async def test_transparent_first_then_the_policy():
    """The first refused stream costs no attempt and no delay, the second is a failure like any other."""
    script = Script(REFUSED, REFUSED)
    async with served(script) as (_, stub, delays):
        assert await while_delays_end(delays, 1, stub.unary(b"x")) == b"fine"
        assert [number for number, _ in script.seen] == [0, 0, 1]


async def test_pushback():
    """The server's delay is taken as it is."""
    script = Script(failure(14, grpc_retry_pushback_ms="2500"))
    async with served(script) as (_, stub, delays):
        assert await while_delays_end(delays, 1, stub.unary(b"x")) == b"fine"
        assert delays.asked == [2.5]


@pytest.mark.parametrize("value", ["-1", "soon"])
async def test_pushback_that_forbids(value):
    """A negative or unreadable delay means no more attempts."""
    script = Script(failure(14, grpc_retry_pushback_ms=value))
    async with served(script) as (_, stub, delays):
        with pytest.raises(RpcError):
            await stub.unary(b"x")
        assert delays.asked == []


async def test_throttling():
    """Failures of all calls of the channel use up its tokens; below half nothing is retried until calls succeed."""
    script = Script(*[failure()] * 3)
    config = retrying(retryThrottling={"maxTokens": 4, "tokenRatio": 0.5})
    async with served(script, config) as (channel, stub, delays):
        with pytest.raises(RpcError):
            await while_delays_end(delays, 1, stub.unary(b"x"))
        assert channel.retrying.throttle.tokens == 2
        with pytest.raises(RpcError):
            await stub.unary(b"x")
        assert len(delays.asked) == 1
        for _ in range(3):
            assert await stub.unary(b"x") == b"fine"
        assert channel.retrying.throttle.tokens == 2.5
        script.answers = [b"fine", failure()]
        assert await stub.unary(b"x") == b"fine"
        script.answers = [failure()]
        channel.retrying.throttle.succeeded()
        assert await while_delays_end(delays, 1, stub.unary(b"x")) == b"fine"


async def test_the_deadline_holds_over_all_attempts():
    """A call that waits for its next attempt ends when its time is up."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=0.05)
        assert raised.value.status is Status.DEADLINE_EXCEEDED
        assert not delays.waiting
        await finished(channel)


async def test_cancelling_the_wait():
    """A cancelled task leaves no delay behind when the call is left."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: delays.waiting)
            tasks.cancel_scope.cancel()
        await finished(channel)


async def test_a_cancelled_wait_can_be_repeated():
    """The operation that was cancelled while it waited is called again, and the attempt is made then."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.recv_message)
                await until(lambda: delays.waiting)
                tasks.cancel_scope.cancel()
            await delays.end()
            assert len(script.seen) == 1
            assert await call.recv_message() == b"fine"
            assert await call.recv_message() is None
        await finished(channel)


async def test_cancelling_the_call():
    """cancel() ends a call that waits for its next attempt."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays):
        async with stub.chat() as call, anyio.create_task_group() as tasks:
            await call.send_message(b"x", end=True)

            async def receive():
                with pytest.raises(RpcError) as raised:
                    await call.recv_message()
                assert raised.value.status is Status.CANCELLED

            tasks.start_soon(receive)
            await until(lambda: delays.waiting)
            await call.cancel()
        await finished(channel)


async def test_closing_the_channel():
    """A call that waits for its next attempt fails when the channel is closed."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays), anyio.create_task_group() as tasks:

        async def call():
            with pytest.raises(RpcError, match="closed") as raised:
                await stub.unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE

        tasks.start_soon(call)
        await until(lambda: delays.waiting)
        channel.close()


async def test_open_calls_of_a_closed_channel_are_not_retried():
    """UNAVAILABLE because the channel was closed is final."""

    async def script(peer):
        await peer.accept()
        await peer.until_closed()

    async with served(script) as (channel, stub, delays), anyio.create_task_group() as tasks:

        async def call():
            with pytest.raises(RpcError, match="closed"):
                await stub.unary(b"x")

        tasks.start_soon(call)
        await until(lambda: channel.subchannel._connections and channel.subchannel._current is not None)
        await until(lambda: channel.subchannel._current.open_streams)
        channel.close()
        assert delays.asked == []


async def test_a_client_stream_is_replayed_and_goes_on():
    """What was sent is sent again, and messages that follow go to the new attempt."""

    async def script(peer):
        await peer.accept()
        frame = await peer.read()
        await peer.read()
        await peer.send(peer.headers(frame.stream_id, failure(), end=True))
        stream_id, fields, body = await peer.request()
        bodies.append((fields[ATTEMPTS], body))
        await peer.respond(stream_id, b"sum")
        await peer.until_closed()

    bodies = []
    async with served(script) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await until(lambda: call._attempt.stream.ended)
            await while_delays_end(delays, 1, call.send_message(b"2"))
            await call.send_message(b"3", end=True)
            assert await call.recv_message() == b"sum"
            assert await call.recv_message() is None
        assert bodies == [("1", message(b"1") + message(b"2") + message(b"3"))]
        await finished(channel)


async def test_both_tasks_wait():
    """A sending and a receiving task wait for one delay, and both go on with one new attempt."""

    async def script(peer):
        await peer.accept(INITIAL_WINDOW_SIZE=10)
        frame = await peer.read()
        await peer.read()
        await peer.send(peer.headers(frame.stream_id, failure(), end=True))
        await peer.send(peer.settings(INITIAL_WINDOW_SIZE=2**20), peer.window(0, 2**20))
        stream_id, _, body = await peer.request()
        await peer.respond(stream_id, b"%d" % len(body))
        await peer.until_closed()

    async with served(script) as (channel, stub, delays):
        async with stub.chat() as call, anyio.create_task_group() as tasks:

            async def send():
                for _ in range(4):
                    await call.send_message(b"x" * 50_000)
                await call.end()

            await call.send_request()
            tasks.start_soon(send)
            assert await while_delays_end(delays, 1, call.recv_message()) == b"%d" % (4 * 50_005)
        assert len(delays.asked) == 1
        await finished(channel)


async def test_a_sender_of_the_channel_goes_on():
    """A call whose messages come from an iterable is tried again, and the iterable is read only once."""
    read = []

    async def numbers():
        for number in range(5):
            read.append(number)
            yield b"%d" % number
            if number == 1:
                await until(lambda: delays.asked)  # for good: the next attempt may begin before this looks

    class Early(Script):
        async def __call__(self, peer):
            await peer.accept()
            frame = await peer.read()
            await peer.read()
            await peer.send(peer.headers(frame.stream_id, failure(), end=True))
            stream_id, _, body = await peer.request()
            self.seen.append(body)
            await peer.respond(stream_id, b"all")
            await peer.until_closed()

    script = Early()
    async with served(script) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_request()
            call.start_sender(numbers())
            assert await while_delays_end(delays, 1, call.recv_message()) == b"all"
            assert await call.recv_message() is None
        assert read == list(range(5))
        assert script.seen == [b"".join(message(b"%d" % number) for number in range(5))]
        await finished(channel)


async def test_leaving_the_block_waits_for_the_retry():
    """A unary call that is only sent gets its status from the last attempt when its block is left."""
    script = Script(failure())
    async with served(script) as (_, stub, delays):
        call = stub.channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes)

        async def use():
            async with call:
                await call.send_message(b"x")
                await until(lambda: call._attempt.stream.ended)

        await while_delays_end(delays, 1, use())
        assert len(script.seen) == 2


async def test_a_server_stream_is_retried():
    """A stream of replies that fails before the first is tried again."""
    script = Script(failure())
    async with served(script) as (channel, stub, delays):
        replies = await while_delays_end(delays, 1, _all(stub.count(b"1")))
        assert replies == [b"fine"]
        await finished(channel)


async def _all(replies):
    return [reply async for reply in replies]


@pytest.mark.parametrize(("call_buffer", "again"), [(1_000, False), (100_000, True)])
async def test_the_buffer_of_a_call(call_buffer, again):
    """A call that has sent more than is kept of it fails as it fails."""
    script = Script(failure())
    settings = ChannelSettings(retry=RetrySettings(call_buffer=call_buffer))
    async with served(script, settings=settings) as (channel, stub, delays):
        if again:
            assert await while_delays_end(delays, 1, stub.unary(b"x" * 2_000)) == b"fine"
        else:
            with pytest.raises(RpcError):
                await stub.unary(b"x" * 2_000)
        assert len(delays.asked) == again
        await finished(channel)


async def test_the_buffer_of_the_channel():
    """Of many calls only as many are kept as 1 MiB holds, and nothing is when they are over."""
    calls = 12

    async def script(peer):
        await peer.accept(INITIAL_WINDOW_SIZE=2**21)
        await peer.send(peer.window(0, 2**24))
        streams = [(await peer.request())[0] for _ in range(calls)]
        await until(lambda: channel.retrying.budget.used)
        used.append(channel.retrying.budget.used)
        for stream_id in streams:
            await peer.respond(stream_id, b"fine")
        await peer.until_closed()

    used = []
    async with served(script) as (channel, stub, _), anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(stub.unary, b"x" * 200_000)
        await until(lambda: used and not channel.retrying.budget.used)
    assert 5 * 200_000 < used[0] <= 1_048_576


async def test_connections_that_cannot_be_made():
    """A call that finds no connection is a failed attempt like any other."""
    tries = []

    async def refuse():
        tries.append(None)
        raise OSError("refused")

    with anyio.fail_after(HANG):
        async with Channel(
            "memory:1", codec=RawCodec(), connector=refuse, service_config=retrying(maxAttempts=3)
        ) as channel:
            delays = Delays(channel)
            with pytest.raises(RpcError, match="refused") as raised:
                await while_delays_end(delays, 2, EchoStub(channel).unary(b"x"))
            assert raised.value.status is Status.UNAVAILABLE
            assert len(delays.asked) == 2
            assert not delays.waiting


async def test_wait_for_ready():
    """A call that waits for a connection by its config does not fail with it, and one that says no does."""
    tries = []

    async def refuse():
        tries.append(None)
        raise OSError("refused")

    with anyio.fail_after(HANG):
        config = retrying(waitForReady=True)
        async with Channel("memory:1", codec=RawCodec(), connector=refuse, service_config=config) as channel:
            delays, stub = Delays(channel), EchoStub(channel)
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x", timeout=0.05)
            assert raised.value.status is Status.DEADLINE_EXCEEDED
            with pytest.raises(RpcError) as raised:
                await stub.having(wait_for_ready=False, retry=False).unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE
            assert delays.asked == []


@pytest.mark.parametrize(("timeout", "expected"), [(None, 5), (1.0, 1), (60.0, 5)])
async def test_the_timeout_of_the_config(timeout, expected):
    """The earlier of the call's and the config's deadline is sent."""
    left = []

    class Deadlines(Echo):
        async def unary(self, request):
            left.append(current_call().deadline.time_remaining())
            return request

    async with in_memory(Deadlines(), service_config=retrying(timeout="5s")) as (_, _, stub):
        await stub.unary(b"x", timeout=timeout)
    assert expected - 1 < left[0] <= expected


@pytest.mark.parametrize("direction", ["request", "response"])
async def test_the_sizes_of_the_config(direction):
    """A message over the method's limit ends the call, one of another method does not."""
    key = "maxRequestMessageBytes" if direction == "request" else "maxResponseMessageBytes"
    config = {"methodConfig": [{"name": [{"service": "test.Echo", "method": "Unary"}], key: 10}]}
    async with in_memory(service_config=config) as (_, channel, stub):
        assert await stub.unary(b"x" * 10) == b"x" * 10
        with pytest.raises(RpcError, match="of 11 bytes is larger than the limit of 10") as raised:
            await stub.unary(b"x" * 11)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        async with stub.chat() as call:
            await call.send_message(b"x" * 11, end=True)
            assert await call.recv_message() == b"x" * 11
        await finished(channel)


async def test_listeners_see_the_last_attempt():
    """Listeners are shown one response: that of the attempt that counts."""
    shown = []
    script = Script(failure(14, x_first="1"))
    async with served(script) as (channel, stub, delays):

        async def initial(event):
            shown.append(("initial", dict(event.metadata)))

        async def trailing(event):
            shown.append(("trailing", event.status))

        listen(channel, RecvInitialMetadata, initial)
        listen(channel, RecvTrailingMetadata, trailing)
        assert await while_delays_end(delays, 1, stub.unary(b"x")) == b"fine"
    assert shown == [("initial", {}), ("trailing", Status.OK)]


async def test_metadata_and_peer_of_the_last_attempt():
    """Between two attempts there is no metadata, and the peer is that of the last one."""
    script = Script(failure(14, x_first="1"))
    async with served(script) as (_, stub, delays):
        async with stub.chat() as call, anyio.create_task_group() as tasks:
            await call.send_message(b"x", end=True)
            tasks.start_soon(call.recv_message)
            await until(lambda: delays.waiting)
            assert (call.initial_metadata, call.trailing_metadata) == (None, None)
            assert call.peer is not None
            await delays.end()
            await until(lambda: call.initial_metadata is not None)
            await call.recv_trailing_metadata()
            assert call.trailing_metadata == {}


async def test_the_handler_knows():
    """A handler is told how often the call was tried before, and asks for a delay by trailing metadata."""
    seen = []

    class Failing(Echo):
        async def unary(self, request):
            call = current_call()
            seen.append((call.previous_attempts, ATTEMPTS in call.metadata))
            if len(seen) < 3:
                call.abort(Status.UNAVAILABLE, "not yet", metadata={"grpc-retry-pushback-ms": "70"})
            return request

    async with in_memory(Failing(), service_config=retrying()) as (_, channel, stub):
        delays = Delays(channel)
        assert await while_delays_end(delays, 2, stub.unary(b"x")) == b"x"
    assert delays.asked == [0.07, 0.07]
    assert seen == [(0, False), (1, False), (2, False)]


async def test_a_lost_connection():
    """A call whose connection is lost is a failed attempt, and the next one is made on a new connection."""
    connections = []

    async def script(peer):
        connections.append(peer)
        await peer.accept()
        stream_id, _, _ = await peer.request()
        if len(connections) == 1:
            return
        await peer.respond(stream_id, b"fine")
        await peer.until_closed()

    async with served(script) as (channel, stub, delays):
        assert await while_delays_end(delays, 1, stub.unary(b"x")) == b"fine"
        assert len(connections) == 2
        await finished(channel)


async def test_in_real_time():
    """Without a test's hand at the clock the delay ends by itself."""
    script = Script(failure(), failure())
    config = retrying(initialBackoff="0.001s", maxBackoff="0.001s")
    async with scripted(script, service_config=config) as (channel, stub):
        assert await stub.unary(b"x") == b"fine"
        assert repr(channel.retrying) == "<Retrying 0 delayed, <ReplayBudget 0 of 1048576 bytes>, None>"
        await finished(channel)


async def test_ok_trailers_only_is_no_failure():
    """A client stream that is answered by OK alone is not tried again."""
    script = Script([*OK_HEADERS, *OK_TRAILERS])
    async with served(script) as (_, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            assert await call.recv_message() is None
        assert delays.asked == []
