"""A call's way to a stream: connecting, the deadline, failing, and the one transparent retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from h2.errors import ErrorCodes

from orbit_net.client.replay import Replay
from orbit_net.errors import LocalProtocolError, OrbitError, RpcError
from orbit_net.net import Failure
from orbit_net.status import Status
from orbit_net.wire.timeouts import encode_timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.subchannel import Subchannel
    from orbit_net.net import Connection, Stream, Timer, Timers
    from orbit_net.wire import HeaderTemplate
    from orbit_net.wire.hpack import Field

__all__ = ["Attempt"]

_TOO_LATE = "Deadline exceeded"
_CLOCK_SLACK = 0.1
"""Seconds by which a server that enforces the deadline may be ahead of our own timer."""


class Attempt:
    """What one call knows of the network.

    It is a :class:`~orbit_net.client.subchannel.Pending` while it waits for a stream, and its deadline is a timer of
    the channel: ``begin``, ``refuse`` and ``expire`` are called by other tasks and never block. ``failure`` is set
    once, by whatever ends the call from our side; a failure of the stream stays with the stream, because it may be
    retried. ``over`` tells that the user has been told how the call ended.
    """

    __slots__ = (
        "_cause",
        "_connected",
        "_subchannel",
        "_submitted",
        "_template",
        "_timer",
        "_timers",
        "_waiting",
        "closed",
        "deadline",
        "failure",
        "fields",
        "over",
        "raised",
        "replay",
        "stream",
        "wait_for_ready",
    )

    def __init__(
        self,
        subchannel: Subchannel,
        timers: Timers,
        template: HeaderTemplate,
        *,
        deadline: float | None,
        fields: Sequence[Field],
        wait_for_ready: bool,
    ) -> None:
        self.deadline = deadline
        self.fields = fields
        self.wait_for_ready = wait_for_ready
        self.stream: Stream | None = None
        self.failure: Failure | None = None
        self.replay = Replay()
        self.over = False
        self.raised: Exception | None = None  # by the user's own request iterator
        self.closed = False
        self._subchannel = subchannel
        self._timers = timers
        self._template = template
        self._timer: Timer | None = None
        self._cause: BaseException | None = None
        self._connected: anyio.Event | None = None
        self._waiting = 0
        self._submitted = False

    async def start(self) -> Stream:
        """Send the headers on a new stream, waiting for one if need be; raises the call's error when there is none.

        Cancellation takes the call out of the row; the next operation asks again.
        """
        if self.deadline is not None:
            if self.deadline <= anyio.current_time():
                raise self.fail(Failure(Status.DEADLINE_EXCEEDED, _TOO_LATE))
            self._timer = self._timers.add(self.deadline, self)
        return await self.connected()

    async def connected(self) -> Stream:
        """Wait for the stream, asking for one if that was not done; several tasks may wait."""
        while self.stream is None and self.failure is None:
            if not self._submitted:
                self._submitted = True
                self._subchannel.submit(self)
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

    # --- called by the subchannel and the timer --------------------------------------------------

    def begin(self, connection: Connection) -> None:
        """Take a stream of ``connection`` and send the headers."""
        early: list[Field] = []
        if self.deadline is not None:
            early.append((b"grpc-timeout", encode_timeout(max(self.deadline - anyio.current_time(), 1e-9))))
        try:
            self.stream = connection.open_stream(self._template, self.fields, early)
        except LocalProtocolError as error:
            self.failure = Failure(Status.RESOURCE_EXHAUSTED, str(error))
        else:
            # Here, and not by the task that waits: it may be cancelled, and another one may send before it wakes up.
            if self.replay.used:
                self.replay.send_again(self.stream)
        self._wake()

    def refuse(self, error: OrbitError) -> None:
        """Fail because there is no connection."""
        self.failure = Failure(Status.UNAVAILABLE, str(error))
        self._cause = error
        self._wake()

    def expire(self) -> None:
        """Fail because the time is up."""
        if not self.over:
            self.end_by(Failure(Status.DEADLINE_EXCEEDED, _TOO_LATE, urgent=True))

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
        self._subchannel.withdraw(self)
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

    async def retry_or_raise(self, stream: Stream) -> None:
        """Begin again on another stream if the server certainly never saw the call, else raise its failure.

        This is gRFC A6's transparent retry: once, and only while everything sent is still at hand. The sending and the
        receiving task may both come here for the same ``stream``; the second waits with the first.
        """
        if stream is not self.stream:
            await self.connected()
            return
        failure = stream.failure
        assert failure is not None
        replay = self.replay
        if self.failure is not None or not failure.unprocessed or replay.committed or replay.used:
            self.failure = self.failure or failure
            raise self.error()
        replay.used = True
        stream.release()
        self.stream = None
        self._submitted = False
        await self.connected()

    def close(self) -> None:
        """Let go of the stream, the timer and the place in the row."""
        self.closed = self.over = True
        if self._timer is not None:
            self._timers.cancel(self._timer)
        if self.stream is not None:
            self.stream.release()
        else:
            self._subchannel.withdraw(self)
