"""A call's way to a stream: connecting, the deadline, failing, and beginning again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio
from h2.errors import ErrorCodes

from orbit_net.client.response import outcome_of, refusal_of
from orbit_net.client.retry.replay import Replay
from orbit_net.client.retry.retries import Retries, read_pushback
from orbit_net.errors import ConfigurationError, LocalProtocolError, OrbitError, RpcError
from orbit_net.net import Failure
from orbit_net.status import Status
from orbit_net.wire.timeouts import encode_timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.config.method import Method
    from orbit_net.client.config.service_config import RetryPolicy
    from orbit_net.client.line import Line
    from orbit_net.client.retry.hedging import HedgeTally
    from orbit_net.client.retry.retrying import Retrying
    from orbit_net.net import Connection, Peer, Stream, Timer, Timers
    from orbit_net.wire.hpack import Field

__all__ = ["Attempt", "Watcher"]

_TOO_LATE = "Deadline exceeded"
_CLOCK_SLACK = 0.1
"""Seconds by which a server that enforces the deadline may be ahead of our own timer."""


class Watcher(Protocol):
    """Who wants to know of a call's beginning and end: a pool."""

    def begun(self) -> Failure | None:
        """The call begins, unless this returns why it must not."""

    def ended(self, status: Status | None) -> None:
        """The call is over, begun or not, with ``status``, or None when its caller left before there was one."""


class Attempt:
    """What one call knows of the network: the attempt under way, and whether another one follows it.

    It is a :class:`~orbit_net.client.line.Pending` while it waits for a stream, a
    :class:`~orbit_net.client.retry.retrying.Delayed` while it waits to begin again, and its deadline, which holds over
    all attempts, is a timer of the channel: ``begin``, ``refuse``, ``go_on`` and ``expire`` are called by other tasks
    and never block. ``failure`` is set once, by whatever ends the call from our side; a failure of the stream stays
    with the stream, because it may be retried. ``over`` tells that the user has been told how the call ended, ``peer``
    is that of the last attempt.
    """

    tally: HedgeTally | None = None
    """What became of the hedges of the call; None for one that is not hedged."""

    tried: Sequence[Connection] = ()
    """Where attempts that are under way were sent: hedged calls have some."""

    __slots__ = (
        "_cause",
        "_connected",
        "_method",
        "_retries",
        "_retry",
        "_retrying",
        "_subchannel",
        "_submitted",
        "_timer",
        "_timers",
        "_waiting",
        "_watcher",
        "closed",
        "deadline",
        "delayed",
        "failure",
        "fields",
        "hash_key",
        "over",
        "peer",
        "raised",
        "replay",
        "stream",
        "wait_for_ready",
    )

    def __init__(
        self,
        subchannel: Line,
        timers: Timers,
        retrying: Retrying,
        method: Method,
        *,
        deadline: float | None,
        fields: Sequence[Field],
        wait_for_ready: bool,
        retry: RetryPolicy | None,
        watcher: Watcher | None = None,
    ) -> None:
        self.deadline = deadline
        self.fields = fields
        self.hash_key: bytes | None = None
        self.wait_for_ready = wait_for_ready
        self.stream: Stream | None = None
        self.peer: Peer | None = None
        self.failure: Failure | None = None
        self.replay = Replay(retrying.budget)
        self.over = False
        self.raised: Exception | None = None  # by the user's own request iterator
        self.closed = False
        self.delayed = False
        self._subchannel = subchannel
        self._timers = timers
        self._retrying = retrying
        self._method = method
        self._retry = retry
        self._watcher = watcher
        self._retries: Retries | None = None
        self._timer: Timer | None = None
        self._cause: BaseException | None = None
        self._connected: anyio.Event | None = None
        self._waiting = 0
        self._submitted = False

    async def start(self) -> Stream:
        """Send the headers on a new stream, waiting for one if need be; raises the call's error when there is none.

        Cancellation takes the call out of the row; the next operation asks again.
        """
        if self._watcher is not None:
            refusal = self._watcher.begun()
            if refusal is not None:
                self._watcher = None
                raise self.fail(refusal)
        if self.deadline is not None:
            if self.deadline <= anyio.current_time():
                raise self.fail(self.too_late())
            self._timer = self._timers.add(self.deadline, self)
        return await self.connected()

    async def connected(self) -> Stream:
        """Wait for the stream, asking for one if that was not done; several tasks may wait."""
        while self.stream is None and self.failure is None:
            if not self._submitted and not self.delayed:
                self._submitted = True
                try:
                    self._subchannel.submit(self)
                except ConfigurationError:  # the channel is not open: the next operation must be told so too
                    self._submitted = False
                    raise
            else:
                await self._wait()
        return self.stream_or_raise()

    async def _wait(self) -> None:
        if self._connected is None:
            self._connected = anyio.Event()
        self._waiting += 1
        try:
            await self._connected.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._connected = None
                if self.stream is None:
                    self._subchannel.withdraw(self)
                    self._submitted = False

    def stream_or_raise(self) -> Stream:
        """Return the stream of a call that has not been ended from our side."""
        if self.failure is not None or self.stream is None:
            raise self.error()
        return self.stream

    # --- called by the subchannel and the timers -------------------------------------------------

    def begin(self, connection: Connection) -> None:
        """Take a stream of ``connection`` and send the headers."""
        retries = self._retries
        try:
            self.stream = self._open_stream(connection, 0 if retries is None else retries.previous)
        except LocalProtocolError as error:
            self.failure = Failure(Status.RESOURCE_EXHAUSTED, str(error))
        else:
            self.peer = connection.peer
            # Here, and not by the task that waits: it may be cancelled, and another one may send before it wakes up.
            if retries is not None:
                self.replay.send_again(self.stream)
        self._wake()

    def _open_stream(self, connection: Connection, previous: int) -> Stream:
        """Send the headers of an attempt that ``previous`` ones came before."""
        early: list[Field] = []
        if self.deadline is not None:
            early.append((b"grpc-timeout", encode_timeout(max(self.deadline - anyio.current_time(), 1e-9))))
        if previous:
            early.append((b"grpc-previous-rpc-attempts", b"%d" % previous))
        method = self._method
        return connection.open_stream(method.template, self.fields, early, method.max_receive)

    def refuse(self, error: OrbitError) -> None:
        """Fail because there is no connection, or wait for another attempt if the policy gives one."""
        self._submitted = False
        failure = refusal_of(error)
        if not self.replay.committed and self._delay(failure.status, None):
            return
        self.failure = failure
        self._cause = error
        self._wake()

    def go_on(self) -> None:
        """Begin the next attempt, if a task is waiting for it; else the next operation does."""
        self.delayed = False
        if self._waiting and self.failure is None:
            self._submitted = True
            self._subchannel.submit(self)

    def expire(self) -> None:
        """Fail because the time is up."""
        if not self.over:
            self.end_by(self.too_late())

    def too_late(self) -> Failure:
        """Return the end of a call whose time is up; one that had no stream tells why there was no connection."""
        trouble = self._subchannel.trouble if self.stream is None else None
        message = _TOO_LATE if trouble is None else f"{_TOO_LATE}; there was no connection: {trouble}"
        return Failure(Status.DEADLINE_EXCEEDED, message, urgent=True)

    def _wake(self) -> None:
        if self._connected is not None:
            self._connected.set()

    # --- failing ---------------------------------------------------------------------------------

    def end_by(self, failure: Failure, cause: BaseException | None = None) -> None:
        """End the call from our side, whatever it is doing; the first reason stays."""
        if self.failure is not None or self.closed:
            return
        self.failure = failure
        self._cause = cause
        self._withdraw()
        if self.stream is not None:
            self.stream.reset(ErrorCodes.CANCEL)
            self.stream.fail(Failure(failure.status, failure.message, urgent=True))
        self._wake()

    def fail(self, failure: Failure, cause: BaseException | None = None) -> Exception:
        """End the call from our side, and return the error to raise."""
        self.end_by(failure, cause)
        return self.error()

    def error(self) -> Exception:
        """Return why the call failed, as a new exception; an exception of the user's own iterator as itself."""
        self.over = True
        if self.raised is not None:
            return self.raised
        failure = self.failure
        assert failure is not None
        status, message = failure.status, failure.message
        if failure.error_code == ErrorCodes.CANCEL and self._is_late():
            status, message = Status.DEADLINE_EXCEEDED, _TOO_LATE
        error = RpcError(status, message)
        error.__cause__ = self._cause
        return error

    def _is_late(self) -> bool:
        return self.deadline is not None and self.deadline <= anyio.current_time() + _CLOCK_SLACK

    def lost(self, stream: Stream) -> Exception:
        """Return the error of a call whose stream has failed and that does not begin again."""
        self.failure = self.failure or stream.failure
        return self.error()

    # --- beginning again -------------------------------------------------------------------------

    async def begin_again(self, stream: Stream) -> bool:
        """Whether the call goes on, on another stream; :attr:`stream` is the new one then.

        ``stream`` has failed or ended. Waits for the delay of the retry policy and for a connection. The sending and
        the receiving task may both come here for the same ``stream``; the second waits with the first.
        """
        if stream is self.stream and not self._give_up(stream):
            return False
        await self.connected()
        return True

    def may_begin_again(self, stream: Stream) -> bool:
        """Whether a call whose stream has ended may have another attempt, so that its messages are still wanted."""
        return self._open(stream) and self._policy_of_call().eligible(outcome_of(stream.trailers).status)

    def _open(self, stream: Stream) -> bool:
        """Whether the call is not committed: nothing but the end of it has arrived, and what was sent is at hand."""
        return stream.headers is None and not (self.replay.committed or self.closed or self.failure is not None)

    def _policy_of_call(self) -> Retries:
        if self._retries is None:
            self._retries = Retries(self._retry, self._retrying.throttle)
        return self._retries

    def _give_up(self, stream: Stream) -> bool:
        """Let go of a stream whose call begins again; False when it does not."""
        if not self._open(stream):
            return False
        failure = stream.failure
        if failure is not None:
            status, pushback = failure.status, None
            again = failure.unprocessed and self._policy_of_call().take_transparent(unsent=failure.unsent)
        else:
            status, again = outcome_of(stream.trailers).status, False
            trailers = stream.trailers
            pushback = None if trailers is None else read_pushback(trailers.get(b"grpc-retry-pushback-ms"))
        if status is Status.OK or not (again or self._delay(status, pushback)):
            return False
        stream.release()
        self.stream = None
        self._submitted = False
        return True

    def _delay(self, status: Status, pushback: float | None) -> bool:
        """Have the call wait for its next attempt, if the policy gives it one."""
        retrying = self._retrying
        if retrying.closed:
            return False
        delay = self._policy_of_call().delay(status, pushback, retrying.random)
        if delay is None:
            return False
        self.delayed = True
        retrying.add(self, delay)
        return True

    def _withdraw(self) -> None:
        self._subchannel.withdraw(self)
        if self.delayed:
            self.delayed = False
            self._retrying.remove(self)

    def _status(self) -> Status | None:
        stream = self.stream
        failure = self.failure or (None if stream is None else stream.failure)
        if failure is not None:
            late = failure.error_code == ErrorCodes.CANCEL and self._is_late()
            return Status.DEADLINE_EXCEEDED if late else failure.status
        return outcome_of(stream.trailers).status if stream is not None and stream.ended else None

    def close(self) -> None:
        """Let go of the stream, the timer, what was kept of the messages, and the place in the row."""
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            watcher.ended(self._status())
        self.closed = self.over = True
        if self._timer is not None:
            self._timers.cancel(self._timer)
        if not self.replay.committed:
            self.replay.commit()
        if self.stream is not None:
            self.stream.release()
        else:
            self._withdraw()
