"""A call that is sent several times before it has failed (gRFC A6, "Hedging Policy").

    first attempt ──delay──▶ second ──delay──▶ third …        non-fatal failure: the next one at once
          └───────────────────┴──────────────────┴──▶ first answer, or a fatal failure: it is the call, the others end

There is no task for an attempt. The timer of the channel sends the next one; what arrives for any of them is noticed by
the connection's reader, which only wakes somebody: the task that waits in the call, or the timer's if there is none.
That one reviews all attempts and decides.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from orbit_net.client.attempt import Attempt
from orbit_net.client.response import outcome_of
from orbit_net.client.retry.hedging import Hedges, HedgeTally
from orbit_net.client.retry.lane import Lane
from orbit_net.client.retry.race import Race
from orbit_net.errors import ConfigurationError, LocalProtocolError
from orbit_net.net import Failure
from orbit_net.status import Status

if TYPE_CHECKING:
    from orbit_net.client.config.method import Method
    from orbit_net.client.line import Line
    from orbit_net.client.retry.retrying import Retrying
    from orbit_net.net import Connection, Stream, Timer, Timers
    from orbit_net.wire import HeaderBlock

__all__ = ["HedgedAttempt"]

_log = logging.getLogger("orbit_net.client")


class HedgedAttempt(Attempt):
    """What a hedged call knows of the network: its attempts, until one of them is the call.

    Invariants: :attr:`stream` is the :class:`~orbit_net.client.retry.race.Race` while an attempt is under way and none
    is chosen, then the chosen one's. An attempt that was not chosen is in ``_lanes`` until it has failed or was let go.
    """

    __slots__ = ("_decided", "_hedges", "_lanes", "_last", "_news", "_race", "_reviewing", "_wakeup", "tally", "tried")

    def __init__(self, subchannel: Line, timers: Timers, retrying: Retrying, method: Method, **options: Any) -> None:
        super().__init__(subchannel, timers, retrying, method, **options)
        assert method.hedging is not None
        self.tally: HedgeTally = HedgeTally(retrying.hedging)
        self.tried: list[Connection] = []
        self._hedges = Hedges(method.hedging, retrying.throttle)
        self._lanes: list[Lane] = []
        self._last: Lane | None = None
        self._race: Race | None = None
        self._wakeup: Timer | None = None
        self._news = False
        self._reviewing = False
        self._decided = False

    # --- waiting for a stream --------------------------------------------------------------------

    async def connected(self) -> Stream:
        """Wait until there is a stream to send on and to receive from; several tasks may wait."""
        while self.stream is None and self.failure is None:
            if not self._lanes and not self._hedges.sent:
                self._next_lane()
            elif not (self._news and self.review()):
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
            self.review()

    def _wake(self) -> None:
        event, self._connected = self._connected, None
        if event is not None:
            event.set()
        if self._race is not None:
            self._race.wake()

    # --- attempts --------------------------------------------------------------------------------

    def _next_lane(self) -> bool:
        """Send the next attempt, or wait for a connection for it; False when there is none."""
        number = None if self._retrying.closed and self._hedges.sent else self._hedges.take()
        if number is None:
            return False
        lane = Lane(self, number)
        self._lanes.append(lane)
        try:
            self._submit(lane)
        except ConfigurationError:  # the channel is not open: the next operation must be told so too
            self._lanes.remove(lane)
            self._hedges.sent -= 1
            raise
        return True

    def _submit(self, lane: Lane) -> None:
        lane.waiting = True
        self._subchannel.submit(lane)

    def lane_begins(self, lane: Lane, connection: Connection) -> None:
        """Send an attempt on ``connection``, and what was sent on the others before."""
        try:
            stream = self._open_stream(connection, lane.number)
        except LocalProtocolError as error:
            lane.refuse_by(Failure(Status.RESOURCE_EXHAUSTED, str(error)), error)
            return
        lane.stream = stream
        stream.watch(lane)
        self.peer = connection.peer
        self.tried.append(connection)
        self.replay.send_again(stream)
        if lane.number:
            self.tally.add(hedges=1)
        elif self._hedges.sent == 1:
            self._after(self._hedges.delay)
        if self._race is None:
            self._race = Race(self, connection)
        self.stream = self._race
        self._wake()

    def _after(self, seconds: float) -> None:
        """Send the next attempt in ``seconds``, whatever was planned before."""
        if self.delayed:
            self._retrying.remove(self)
        self.delayed = self._hedges.more and not self._retrying.closed
        if self.delayed:
            self._retrying.add(self, seconds)

    def go_on(self) -> None:
        """Send the next attempt: it is due."""
        self.delayed = False
        if self._decided or self.closed or self.failure is not None:
            return
        if not self._next_lane():
            self._news = True  # it may have been the last hope
            self.review()
            return
        while not self._hedges.delay and self._next_lane():
            pass
        self._after(self._hedges.delay)

    # --- news ------------------------------------------------------------------------------------

    def notice(self, lane: Lane) -> None:
        """Have somebody look at ``lane``. Called by readers and subchannels: decides nothing itself."""
        if not self._news:
            self._news = True
            if not self._reviewing:
                self._rouse(lane)

    def _rouse(self, lane: Lane) -> None:
        if self._waiting or (self._race is not None and self._race.awaited):
            self._wake()
        else:
            self._wakeup = self._timers.add(anyio.current_time(), lane)

    def review(self) -> bool:
        """Decide by what has arrived, if anything has; whether there is nothing left to wait for."""
        if not self._reviewing:
            self._reviewing = True
            while self._news and not (self._decided or self.closed or self.failure is not None):
                self._news = False
                self._judge()
            self._reviewing = False
        return self._decided or self.closed or self.failure is not None

    def _judge(self) -> None:
        for lane in self._lanes:
            if lane.answered:
                self._settle(lane)
                return
        for lane in [lane for lane in self._lanes if lane.failed is not None]:
            if not self._bear(lane):
                self._settle(lane)
                return
        if not self._lanes and not self.delayed and self._last is not None:
            self._settle(self._last)
        elif not self.running():
            self.stream = None

    def _bear(self, lane: Lane) -> bool:
        """Go on without an attempt that has failed; False when the call has failed with it."""
        status, stream = lane.failed, lane.stream
        assert status is not None
        if self.replay.committed:
            return False
        if stream is not None and self._unseen(stream):
            self._release(lane)
            self._submit(lane)
            return True
        pushback = lane.pushback
        if not self._hedges.failed(status, pushback):
            return False
        self._lanes.remove(lane)
        if self._last is not None:
            self._release(self._last)
        self._last = lane
        if pushback is None:
            self._next_lane()
            pushback = self._hedges.delay
        self._after(pushback)
        return True

    def _unseen(self, stream: Stream) -> bool:
        """Whether an attempt is sent again as if it had not been: the server's application never saw it."""
        failure = stream.failure
        if failure is None or not failure.unprocessed or self._retrying.closed:
            return False
        return self._policy_of_call().take_transparent(unsent=failure.unsent)

    # --- the end of the race ---------------------------------------------------------------------

    def running(self) -> list[Stream]:
        """Return the streams that take messages."""
        return [lane.stream for lane in self._lanes if lane.stream is not None and lane.healthy]

    def commit(self) -> None:
        """Go on with one attempt, the one that has sent most: the messages cannot be kept for more."""
        if self._decided:
            return
        running = [lane for lane in self._lanes if lane.healthy]
        if running:
            self._settle(min(running, key=_unsent))
        else:
            self._news = True
            self.review()

    def _settle(self, lane: Lane) -> None:
        """Take one attempt as the call: how it ends is how the call ends."""
        self._decided = True
        others = [other for other in [*self._lanes, self._last] if other is not None and other is not lane]
        self._lanes = [lane]
        self._last = None
        self._withdraw()
        for other in others:
            self._lose(other)
        self.replay.commit()
        self.stream = lane.stream
        if lane.stream is None:
            self.failure = lane.refusal
            self._cause = lane.cause
        else:
            lane.stream.watch(None)
            self.peer = lane.stream.connection.peer
        self._wake()

    def _lose(self, lane: Lane) -> None:
        """Let go of an attempt that is not wanted, and have it counted if it succeeds all the same."""
        stream = lane.stream
        if lane.waiting:
            lane.waiting = False
            self._subchannel.withdraw(lane)
        if stream is None:
            return
        stream.watch(None)
        if lane.succeeded:
            self._completed_again()
        elif lane.healthy:
            self.tally.add(cancelled=1)
        lane.stream = None
        stream.connection.forsaken.add(stream, self._answered_late)

    def _answered_late(self, trailers: HeaderBlock) -> None:
        if outcome_of(trailers).status is Status.OK:
            self._completed_again()

    def _completed_again(self) -> None:
        self.tally.add(duplicates=1)
        _log.info("a hedge of %s was completed beside the answer that counts", self._method.path)

    def _release(self, lane: Lane) -> None:
        stream, lane.stream = lane.stream, None
        if stream is not None:
            stream.watch(None)
            stream.release()

    # --- what the base does with one stream ------------------------------------------------------

    def may_begin_again(self, stream: Stream) -> bool:
        """Whether a call whose stream has ended may have another attempt: it has not, once one was chosen."""
        return False

    def _give_up(self, stream: Stream) -> bool:
        return False

    def _withdraw(self) -> None:
        for lane in self._lanes:
            if lane.waiting:
                lane.waiting = False
                self._subchannel.withdraw(lane)
        if self.delayed:
            self.delayed = False
            self._retrying.remove(self)
        if self._wakeup is not None:
            self._timers.cancel(self._wakeup)

    def let_go(self) -> None:
        """Reset all attempts: the call was left."""
        for lane in [*self._lanes, self._last]:
            if lane is not None:
                self._release(lane)

    def close(self) -> None:
        """Let go of everything, as the base does."""
        super().close()
        self._withdraw()
        self.let_go()

    def __repr__(self) -> str:
        return f"<HedgedAttempt {self._hedges!r}, {len(self._lanes)} under way>"


def _unsent(lane: Lane) -> int:
    stream = lane.stream
    assert stream is not None
    queued = stream.connection.wire.streams.get(stream.id)
    return 0 if queued is None else queued.out_size
