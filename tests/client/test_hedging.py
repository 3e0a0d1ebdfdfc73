"""Calls that are sent several times before they have failed (gRFC A6), against a server that answers when told to."""

import contextlib
from contextlib import asynccontextmanager

import anyio
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from delays import Delays
from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import Channel, ChannelSettings, RetrySettings
from orbit_net.client.retry.hedged import HedgedAttempt
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from rawpeer import OK_HEADERS, OK_TRAILERS, message, scripted
from settle import assert_no_leaks, turns, until

pytestmark = pytest.mark.anyio

ATTEMPTS = "grpc-previous-rpc-attempts"
DELAY = 0.5


def hedging(**changes):
    """Return a service config that hedges every method of the echo service: three attempts, UNAVAILABLE not fatal."""
    policy = {"maxAttempts": 3, "hedgingDelay": f"{DELAY}s", "nonFatalStatusCodes": ["UNAVAILABLE"]}
    whole = {key: value for key, value in changes.items() if key == "retryThrottling"}
    policy |= {key: value for key, value in changes.items() if key not in whole}
    return {"methodConfig": [{"name": [{"service": "test.Echo"}], "hedgingPolicy": policy}], **whole}


def failure(status=14, **trailers):
    """Return a trailers-only response."""
    more = [(name.replace("_", "-"), value) for name, value in trailers.items()]
    return [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(status)), *more]


class Backend:
    """Keeps the requests as ``(previous attempts, body)`` and answers one when it is told to, or by ``at_once``.

    ``at_once`` are answers to the first requests: header fields for a trailers-only response, an int for a reset, bytes
    for a reply, None for none.
    """

    def __init__(self, *at_once, whole=True):
        self.at_once = list(at_once)
        self.whole = whole
        self.seen = []
        self.ids = []
        self.peer = None

    async def __call__(self, peer):
        self.peer = peer
        await peer.accept(INITIAL_WINDOW_SIZE=2**21)
        await peer.send(peer.window(0, 2**21))
        while True:
            if self.whole:
                stream_id, fields, body = await peer.request()
                self.seen.append((int(fields.get(ATTEMPTS, "0")), body))
                self.ids.append(stream_id)
                answer = self.at_once.pop(0) if self.at_once else None
                if answer is not None:
                    await self.answer(len(self.ids) - 1, answer)
            else:
                await peer.read()

    def frames(self, number, answer):
        """Return the frames of an answer to a request."""
        peer, stream_id = self.peer, self.ids[number]
        if isinstance(answer, list):
            return [peer.headers(stream_id, answer, end=True)]
        if isinstance(answer, int):
            return [peer.reset(stream_id, answer)]
        return [
            peer.headers(stream_id, OK_HEADERS),
            peer.data(stream_id, message(answer)),
            peer.headers(stream_id, OK_TRAILERS, end=True),
        ]

    async def answer(self, number, answer):
        """Answer a request; to one that was reset, as a server does that has not read the reset yet."""
        await self.peer.send(*self.frames(number, answer))

    @property
    def resets(self):
        """The numbers of the requests that were reset, with the codes."""
        frames = [frame for frame in self.peer.seen if isinstance(frame, RstStreamFrame)]
        return [(self.ids.index(frame.stream_id), frame.error_code) for frame in frames]


CANCEL = ErrorCodes.CANCEL


@asynccontextmanager
async def served(backend, config=None, **options):
    """Give ``(channel, stub, delays)``."""
    async with scripted(backend, service_config=config or hedging(), **options) as (channel, stub):
        yield channel, stub, Delays(channel)


async def finished(channel):
    """Nothing of a call is left: no timer, no delay, no byte kept."""
    await assert_no_leaks(channel)
    assert channel.retrying.budget.used == 0
    assert not channel.retrying._delays


def counts(tally):
    """Return hedges, cancelled and duplicates."""
    return tally.hedges, tally.cancelled, tally.duplicates


class Outcome:
    """Runs a call beside the test, and keeps what it returns or raises."""

    def __init__(self, tasks, call):
        self.value = self.error = None
        self.done = False
        tasks.start_soon(self._run, call)

    async def _run(self, call):
        try:
            self.value = await call
        except RpcError as error:
            self.error = error
        self.done = True

    async def wait(self):
        """Return the result of the call, or raise its error."""
        await until(lambda: self.done)
        if self.error is not None:
            raise self.error
        return self.value


@asynccontextmanager
async def asked(backend, *, config=None, **options):
    """Give ``(outcome, channel, delays)`` of a unary call that has been sent once."""
    async with served(backend, config, **options) as (channel, stub, delays), anyio.create_task_group() as tasks:
        outcome = Outcome(tasks, stub.unary(b"x"))
        await until(lambda: backend.seen)
        yield outcome, channel, delays
        await finished(channel)


async def test_no_hedge_for_a_quick_answer():
    """A call that is answered within the delay is sent once."""
    backend = Backend(b"fine")
    async with served(backend) as (channel, stub, delays):
        for _ in range(3):
            assert await stub.unary(b"x") == b"fine"
            backend.at_once.append(b"fine")
        assert delays.asked == [DELAY] * 3
        assert backend.seen == [(0, message(b"x"))] * 3
        assert counts(channel.hedging) == (0, 0, 0)
        await finished(channel)


async def test_the_first_answer_wins():
    """After the delay the call is sent again, numbered; what is answered first counts, the other is cancelled."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        assert backend.seen == [(0, message(b"x")), (1, message(b"x"))]
        await backend.answer(1, b"second")
        assert await outcome.wait() == b"second"
        await until(lambda: backend.resets)
        assert backend.resets == [(0, CANCEL)]
        assert delays.asked == [DELAY, DELAY]
        assert counts(channel.hedging) == (1, 1, 0)


async def test_the_first_attempt_may_win_too():
    """The answer to the first attempt ends the later ones."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        for number in (2, 3):
            await delays.end()
            await until(lambda number=number: len(backend.seen) == number)
        assert len(delays.asked) == 2
        await backend.answer(0, b"first")
        assert await outcome.wait() == b"first"
        await until(lambda: len(backend.resets) == 2)
        assert sorted(backend.resets) == [(1, CANCEL), (2, CANCEL)]
        assert counts(channel.hedging) == (2, 2, 0)


async def test_without_a_delay():
    """All attempts are sent together, at most five."""
    backend = Backend()
    config = hedging(maxAttempts=100, hedgingDelay="0s")
    async with asked(backend, config=config) as (outcome, _channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 5)
        assert [number for number, _ in backend.seen] == [0, 1, 2, 3, 4]
        assert not delays.waiting
        await backend.answer(3, b"fourth")
        assert await outcome.wait() == b"fourth"
        await until(lambda: len(backend.resets) == 4)


async def test_a_non_fatal_failure():
    """The next attempt is sent at once, and the delay counts from it."""
    backend = Backend(failure())
    async with asked(backend) as (outcome, channel, delays):
        await until(lambda: len(backend.seen) == 2)
        assert delays.asked == [DELAY, DELAY]
        assert delays.waiting == 1
        await backend.answer(1, b"second")
        assert await outcome.wait() == b"second"
        await turns(10)
        assert backend.resets == []
        assert counts(channel.hedging) == (1, 0, 0)


async def test_a_fatal_failure():
    """It ends the call, and the attempts that might have succeeded are cancelled."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(1, failure(13, x_text="no"))
        with pytest.raises(RpcError) as raised:
            await outcome.wait()
        assert raised.value.status is Status.INTERNAL
        assert raised.value.trailing_metadata == {"x-text": "no"}
        await until(lambda: backend.resets)
        assert backend.resets == [(0, CANCEL)]
        assert counts(channel.hedging) == (1, 1, 0)


async def test_the_last_failure_is_raised():
    """When all attempts have failed and none is left the call fails as the last one did, with its trailers."""
    backend = Backend(*[failure(14, x_number=str(number)) for number in range(9)])
    async with asked(backend) as (outcome, _channel, _delays):
        with pytest.raises(RpcError) as raised:
            await outcome.wait()
        assert raised.value.status is Status.UNAVAILABLE
        assert raised.value.trailing_metadata == {"x-number": "2"}
        assert [number for number, _ in backend.seen] == [0, 1, 2]


async def test_a_failure_while_others_run():
    """Attempts that are under way go on when there is no further one to send."""
    backend = Backend()
    async with asked(backend, config=hedging(maxAttempts=2)) as (outcome, _channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(1, failure())
        await turns(20)
        assert not outcome.done
        await backend.answer(0, b"first")
        assert await outcome.wait() == b"first"


async def test_a_non_fatal_failure_after_headers():
    """Response headers commit the call: what follows them is its outcome."""
    backend = Backend()
    async with asked(backend) as (outcome, _channel, delays):
        stream_id = backend.ids[0]
        peer = backend.peer
        await peer.send(peer.headers(stream_id, OK_HEADERS), peer.headers(stream_id, [("grpc-status", "14")], end=True))
        with pytest.raises(RpcError) as raised:
            await outcome.wait()
        assert raised.value.status is Status.UNAVAILABLE
        assert len(backend.seen) == 1
        assert not delays.waiting


@pytest.mark.parametrize("how", ["call", "channel"])
async def test_opting_out(how):
    """A call or a channel that wants no retries is not hedged either."""
    backend = Backend(b"fine")
    settings = ChannelSettings(retry=RetrySettings(enabled=how != "channel"))
    async with served(backend, settings=settings) as (_channel, stub, delays):
        assert await stub.having(retry=how != "call").unary(b"x") == b"fine"
        assert delays.asked == []


# --- pushback and throttling ---------------------------------------------------------------------


async def test_pushback_that_delays():
    """The next attempt is sent when the server that failed asked for it, and not at once."""
    backend = Backend(failure(14, grpc_retry_pushback_ms="2500"))
    async with asked(backend) as (outcome, _channel, delays):
        await until(lambda: len(delays.asked) == 2)
        assert delays.asked == [DELAY, 2.5]
        assert len(backend.seen) == 1
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(1, b"second")
        assert await outcome.wait() == b"second"


@pytest.mark.parametrize("value", ["-1", "soon"])
async def test_pushback_that_forbids(value):
    """No attempt follows; those under way go on."""
    backend = Backend()
    async with asked(backend) as (outcome, _channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(0, failure(14, grpc_retry_pushback_ms=value))
        await until(lambda: not delays.waiting)
        await turns(20)
        assert len(backend.seen) == 2
        await backend.answer(1, b"second")
        assert await outcome.wait() == b"second"


async def test_pushback_that_forbids_with_nothing_under_way():
    """The call fails as the attempt did."""
    backend = Backend(failure(14, grpc_retry_pushback_ms="-1"))
    async with asked(backend) as (outcome, _channel, _delays):
        with pytest.raises(RpcError) as raised:
            await outcome.wait()
        assert raised.value.status is Status.UNAVAILABLE


async def test_the_throttle_is_shared():
    """Non-fatal failures take tokens; below half only first attempts are sent, and successes give tokens back."""
    backend = Backend(failure(), failure())
    config = hedging(retryThrottling={"maxTokens": 4, "tokenRatio": 0.5})
    async with served(backend, config) as (channel, stub, delays):
        with pytest.raises(RpcError):
            await stub.unary(b"x")
        assert len(backend.seen) == 2
        assert channel.retrying.throttle.tokens == 2
        async with anyio.create_task_group() as tasks:
            outcome = Outcome(tasks, stub.unary(b"x"))
            await until(lambda: len(backend.seen) == 3)
            await delays.end()
            await turns(20)
            assert len(backend.seen) == 3
            await backend.answer(2, b"fine")
            assert await outcome.wait() == b"fine"
        assert channel.retrying.throttle.tokens == 2.5
        await finished(channel)


# --- runs that were completed twice --------------------------------------------------------------


async def test_two_answers_at_once():
    """Two answers that arrive together: the first attempt's counts, the other is told of."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.peer.send(*backend.frames(1, b"second"), *backend.frames(0, b"first"))
        assert await outcome.wait() == b"first"
        assert counts(channel.hedging) == (1, 0, 1)


async def test_an_answer_that_crosses_the_cancellation():
    """A loser that its server has completed before it read of the cancellation is told of, after the call."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(1, b"second")
        assert await outcome.wait() == b"second"
        assert counts(channel.hedging) == (1, 1, 0)
        await backend.answer(0, b"first")
        await until(lambda: channel.hedging.duplicates)
        assert counts(channel.hedging) == (1, 1, 1)
        connection = channel.subchannel._current
        assert not connection.wire.receiver.awaited
        assert repr(connection.forsaken) == "<Forsaken 0 streams>"


async def test_a_failure_that_crosses_the_cancellation():
    """A loser that has failed did not run to completion."""
    backend = Backend()
    async with asked(backend) as (outcome, channel, delays):
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.answer(1, b"second")
        await outcome.wait()
        await backend.answer(0, failure(1))
        await until(lambda: not len(channel.subchannel._current.forsaken))
        assert counts(channel.hedging) == (1, 1, 0)


async def test_the_hedges_of_a_call():
    """A call tells of its own hedges, and so does its end to interceptors."""
    told = []

    async def watch(call, go_on):
        call.on_end(lambda status, text: told.append((call.method, status, counts(call.hedging))))
        await go_on(call)

    backend = Backend(failure(), b"fine")
    async with served(backend, interceptors=[watch]) as (_channel, stub, _delays):
        async with stub.chat() as call:
            assert counts(call.hedging) == (0, 0, 0)
            await call.send_message(b"x", end=True)
            assert await call.recv_message() == b"fine"
            assert counts(call.hedging) == (1, 0, 0)
            assert await call.recv_message() is None
        assert told == [("/test.Echo/Chat", Status.OK, (1, 0, 0))]
    async with scripted(Backend(b"fine")) as (_, stub), stub.chat() as call:
        assert call.hedging is None


async def test_the_texts():
    """What a debugger shows of a call and its attempts."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            attempt = call._attempt
            assert repr(attempt) == "<HedgedAttempt <Hedges 0 of 3 sent>, 0 under way>"
            await call.send_message(b"x", end=True)
            await delays.end()
            await until(lambda: len(backend.seen) == 2)
            assert repr(attempt) == "<HedgedAttempt <Hedges 2 of 3 sent>, 2 under way>"
            assert repr(attempt.stream) == f"<Race of {attempt!r}>"
            assert repr(attempt._lanes[1]) == "<Lane 1 <net.Stream 3 open, 0 messages waiting>>"
            assert repr(call) == "<ClientStream /test.Echo/Chat open, 1 sent, 0 received>"
            await backend.answer(1, b"second")
            assert await call.recv_message() == b"second"
            assert repr(attempt) == "<HedgedAttempt <Hedges 2 of 3 sent>, 1 under way>"
        await finished(channel)


# --- streams of requests -------------------------------------------------------------------------


async def test_messages_go_to_all_attempts():
    """What was sent is sent again on a new attempt, and what follows is sent on all of them."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await delays.end()
            await call.send_message(b"2")
            await delays.end()
            await call.send_message(b"3")
            await call.end()
            await until(lambda: len(backend.seen) == 3)
            whole = b"".join(message(b"%d" % number) for number in (1, 2, 3))
            assert sorted(backend.seen) == [(number, whole) for number in range(3)]
            await backend.answer(1, b"fine")
            assert await call.recv_message() == b"fine"
            assert await call.recv_message() is None
        await finished(channel)


async def test_a_later_message_goes_to_the_winner():
    """A duplex call goes on with the attempt whose headers came first."""
    backend = Backend(whole=False)
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await delays.end()
            await until(lambda: len([f for f in backend.peer.seen if f.stream_id == 3]) == 2)
            peer = backend.peer
            await peer.send(peer.headers(3, OK_HEADERS))
            await call.recv_initial_metadata()
            before = len(peer.seen)
            await call.send_message(b"2", end=True)
            await until(lambda: any(f.stream_id == 3 for f in peer.seen[before:] if not isinstance(f, RstStreamFrame)))
            assert {f.stream_id for f in peer.seen[before:] if not isinstance(f, RstStreamFrame)} <= {0, 3}
            await peer.send(peer.data(3, message(b"fine")), peer.headers(3, OK_TRAILERS, end=True))
            assert await call.recv_message() == b"fine"
            assert await call.recv_message() is None
        assert [f.stream_id for f in peer.seen if isinstance(f, RstStreamFrame)] == [1]
        await finished(channel)


async def test_more_than_the_buffer():
    """A call whose messages cannot be kept goes on with one attempt, and no other follows (gRFC A6)."""
    backend = Backend()
    settings = ChannelSettings(retry=RetrySettings(call_buffer=1_000))
    async with served(backend, settings=settings) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"x" * 500)
            await delays.end()
            await until(lambda: call.hedging.hedges)
            await call.send_message(b"y" * 500)
            assert not delays.waiting
            assert counts(call.hedging) == (1, 1, 0)
            await call.send_message(b"z", end=True)
            await until(lambda: backend.seen)
            [(_, body)] = backend.seen
            assert body == message(b"x" * 500) + message(b"y" * 500) + message(b"z")
            await backend.answer(0, b"fine")
            assert await call.recv_message() == b"fine"
            assert await call.recv_message() is None
        await finished(channel)


async def test_more_than_the_buffer_when_all_have_failed():
    """Without an attempt that could take the message, the call fails as the last one did."""
    backend = Backend(whole=False)
    settings = ChannelSettings(retry=RetrySettings(call_buffer=1_000))
    async with served(backend, settings=settings) as (channel, stub, _delays):
        with pytest.raises(RpcError) as raised:
            async with stub.chat() as call:
                await call.send_message(b"x" * 500)
                await until(lambda: backend.peer.seen[-1:] and backend.peer.seen[-1].stream_id == 1)
                call._attempt._news = True  # as if somebody was about to look: it will be this message
                await backend.peer.send(backend.peer.headers(1, failure(), end=True))
                await until(lambda: call._attempt._lanes[0].failed)
                await call.send_message(b"y" * 500)
                await call.recv_message()
        assert raised.value.status is Status.UNAVAILABLE
        await finished(channel)


async def test_a_sender_of_the_channel():
    """Messages from an iterable go to all attempts, and it is read once."""
    read = []

    async def numbers():
        for number in range(4):
            read.append(number)
            yield b"%d" % number
            if number == 1:
                await delays.end()

    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_request()
            call.start_sender(numbers())
            await until(lambda: len(backend.seen) == 2)
            await backend.answer(1, b"all")
            assert await call.recv_message() == b"all"
            assert await call.recv_message() is None
        assert read == [0, 1, 2, 3]
        whole = b"".join(message(b"%d" % number) for number in range(4))
        assert backend.seen == [(0, whole), (1, whole)]
        await finished(channel)


async def test_a_stream_of_replies():
    """Server streaming is hedged until the first headers, and all replies come from one attempt."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays), anyio.create_task_group() as tasks:

        async def collect():
            return [reply async for reply in stub.count(b"2")]

        outcome = Outcome(tasks, collect())
        await until(lambda: backend.seen)
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        await backend.peer.respond(backend.ids[1], b"0", b"1")
        assert await outcome.wait() == [b"0", b"1"]
        await finished(channel)


# --- endings from our side -----------------------------------------------------------------------


async def test_the_deadline_holds_over_all_attempts():
    """When the time is up all attempts are cancelled."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays), anyio.create_task_group() as tasks:
        outcome = Outcome(tasks, stub.unary(b"x", timeout=0.1))
        await until(lambda: backend.seen)
        await delays.end()
        await until(lambda: len(backend.seen) == 2)
        with pytest.raises(RpcError) as raised:
            await outcome.wait()
        assert raised.value.status is Status.DEADLINE_EXCEEDED
        await until(lambda: len(backend.resets) == 2)
        assert not delays.waiting
        assert counts(channel.hedging) == (1, 0, 0)
        await finished(channel)


async def test_leaving_a_call():
    """A call that is left or cancelled resets all of its attempts, and none of them counts as a loser."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        with contextlib.suppress(ZeroDivisionError):
            async with stub.chat() as call:
                await call.send_message(b"x", end=True)
                await delays.end()
                await until(lambda: len(backend.seen) == 2)
                raise ZeroDivisionError
        await until(lambda: len(backend.resets) == 2)
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            await until(lambda: len(backend.seen) == 3)
            await delays.end()
            await until(lambda: len(backend.seen) == 4)
            await call.cancel()
            with pytest.raises(RpcError, match="cancelled"):
                await call.recv_message()
        await until(lambda: len(backend.resets) == 4)
        assert counts(channel.hedging) == (2, 0, 0)
        await finished(channel)


async def test_cancelling_a_receiver(monkeypatch):
    """A task that is cancelled when it has just been woken takes no news with it: the losers are cancelled."""

    def notice(attempt, lane):
        real(attempt, lane)
        tasks.cancel_scope.cancel()

    async def receive():
        got.append(await call.recv_message())

    got = []
    real = HedgedAttempt.notice
    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await until(lambda: call._attempt.stream is not None and call._attempt.stream.awaited)
                await delays.end()
                await until(lambda: len(backend.seen) == 2)
                monkeypatch.setattr(HedgedAttempt, "notice", notice)
                await backend.answer(1, b"second")
            await until(lambda: backend.resets)
            if not got:  # a task that was woken already may have completed its operation
                await receive()
            assert got == [b"second"]
            assert await call.recv_message() is None
        await finished(channel)


async def test_an_answer_that_nobody_waits_for():
    """The losers are cancelled when the answer arrives, even if the call does not receive yet."""
    backend = Backend()
    async with served(backend) as (channel, stub, delays):
        async with stub.chat() as call:
            await call.send_message(b"x", end=True)
            await delays.end()
            await until(lambda: len(backend.seen) == 2)
            await backend.answer(1, b"second")
            await until(lambda: backend.resets)
            assert backend.resets == [(0, CANCEL)]
            assert await call.recv_message() == b"second"
        await finished(channel)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL"])
async def test_closing_the_channel(status):
    """Calls under way, and those that wait for their next attempt, fail when the channel is closed."""
    backend = Backend(None, failure(14, grpc_retry_pushback_ms="60000"))
    config = hedging(nonFatalStatusCodes=[status, "UNAVAILABLE"])
    async with served(backend, config) as (channel, stub, delays), anyio.create_task_group() as tasks:
        under_way = Outcome(tasks, stub.unary(b"x"))
        await until(lambda: len(backend.seen) == 1)
        waiting = Outcome(tasks, stub.unary(b"y"))
        await until(lambda: 60 in delays.asked)
        channel.close()
        for outcome in (under_way, waiting):
            with pytest.raises(RpcError) as raised:
                await outcome.wait()
            assert raised.value.status is Status.UNAVAILABLE


async def test_a_lost_connection():
    """Attempts that were lost with a connection are sent again on the next one, as the policy says."""

    class Lost(Backend):
        async def __call__(self, peer):
            if self.peer is None:
                self.peer = peer
                await peer.accept()
                await peer.request()
                await peer.send(peer.settings())
                return
            await super().__call__(peer)

    backend = Lost(b"fine")
    async with served(backend) as (channel, stub, _delays):
        assert await stub.unary(b"x") == b"fine"
        assert backend.seen == [(1, message(b"x"))]
        await finished(channel)


async def test_a_refused_stream():
    """An attempt that the server's application never saw is sent again at once, and not counted."""
    backend = Backend(int(ErrorCodes.REFUSED_STREAM), b"fine")
    async with served(backend) as (channel, stub, _delays):
        assert await stub.unary(b"x") == b"fine"
        assert backend.seen == [(0, message(b"x"))] * 2
        assert counts(channel.hedging) == (0, 0, 0)
        await finished(channel)


@pytest.mark.parametrize("codes", [["UNAVAILABLE"], ["INTERNAL"]])
async def test_no_connection(codes):
    """Without a connection the call fails, after all its attempts or after the first."""

    async def refuse():
        raise ConnectError("nobody there")

    async with Channel("memory:1", connector=refuse, service_config=hedging(nonFatalStatusCodes=codes)) as channel:
        with pytest.raises(RpcError, match="nobody there") as raised:
            await EchoStub(channel).unary(b"x", timeout=10)
        assert raised.value.status is Status.UNAVAILABLE
        with pytest.raises(RpcError, match=r"Deadline exceeded; there was no connection: .*nobody there"):
            await EchoStub(channel).having(wait_for_ready=True, timeout=0.05).unary(b"x")


async def test_waiting_for_a_connection():
    """A call that waits for a connection is not hedged: the delay counts from when it is sent."""
    gate = anyio.Event()

    async with in_memory(service_config=hedging(hedgingDelay="0.001s")) as (_server, channel, stub):
        connector = channel.subchannel._connector

        async def later():
            await gate.wait()
            return await connector()

        channel.subchannel._connector = later
        async with anyio.create_task_group() as tasks:
            outcome = Outcome(tasks, stub.unary(b"x"))
            await until(lambda: channel.subchannel._waiting)
            await anyio.sleep(0.01)
            assert len(channel.subchannel._waiting) == 1
            gate.set()
            assert await outcome.wait() == b"x"


@pytest.mark.parametrize("hedged", [True, False])
async def test_a_channel_that_is_not_open(hedged):
    """Every operation says so: none waits for what will not come."""
    channel = Channel("localhost:1", codec=RawCodec(), service_config=hedging() if hedged else None)
    async with EchoStub(channel).chat() as call:
        with anyio.fail_after(5):
            for _ in range(3):
                with pytest.raises(ConfigurationError, match="the channel is not open"):
                    await call.send_message(b"x")


async def test_many_calls():
    """Calls of which some attempts get stuck are all answered by a real server, and leave nothing behind."""

    class Stuck(Echo):
        async def unary(self, request):
            if current_call().previous_attempts < int(request) % 4:
                await anyio.sleep_forever()
            return request

    config = hedging(maxAttempts=5, hedgingDelay="0.001s")
    async with in_memory(Stuck(), service_config=config) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:
            outcomes = [Outcome(tasks, stub.unary(b"%d" % number)) for number in range(60)]
            assert [await outcome.wait() for outcome in outcomes] == [b"%d" % number for number in range(60)]
        assert channel.hedging.hedges >= 15 * (1 + 2 + 3)
        await assert_no_leaks(server, channel)
