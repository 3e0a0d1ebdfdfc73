"""One attempt of a hedged call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.client.response import outcome_of, refusal_of
from orbit_net.client.retry.retries import read_pushback
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.retry.hedged import HedgedAttempt
    from orbit_net.errors import OrbitError
    from orbit_net.net import Connection, Failure, Stream
    from orbit_net.wire.hpack import Field

__all__ = ["Lane"]


class Lane:
    """What one attempt knows: its place in the row while it waits for a stream, then its stream, or why it has none.

    It is the :class:`~orbit_net.client.line.Pending` of its call, and the waiter of its stream, so ``begin``,
    ``refuse`` and ``set`` are called by other tasks and only take notice. ``number`` is how many attempts came before.
    """

    __slots__ = ("_attempt", "cause", "number", "refusal", "stream", "wait_for_ready", "waiting")

    def __init__(self, attempt: HedgedAttempt, number: int) -> None:
        self.number = number
        self.wait_for_ready = attempt.wait_for_ready
        self.stream: Stream | None = None
        self.refusal: Failure | None = None
        self.cause: BaseException | None = None
        self.waiting = False
        self._attempt = attempt

    @property
    def fields(self) -> Sequence[Field]:
        """The metadata of the call."""
        return self._attempt.fields

    @property
    def hash_key(self) -> bytes | None:
        """What the call asks rings for."""
        return self._attempt.hash_key

    @property
    def tried(self) -> Sequence[Connection]:
        """The connections that attempts of this call were sent on: a pick that can does better to avoid them."""
        return self._attempt.tried

    # --- called by the subchannel, the connection and the timers ---------------------------------

    def begin(self, connection: Connection) -> None:
        """Send the attempt on ``connection``."""
        self.waiting = False
        self._attempt.lane_begins(self, connection)

    def refuse(self, error: OrbitError) -> None:
        """Take notice that there is no connection."""
        self.refuse_by(refusal_of(error), error)

    def refuse_by(self, failure: Failure, cause: BaseException) -> None:
        """Take notice of why the attempt has not begun."""
        self.waiting = False
        self.refusal = failure
        self.cause = cause
        self._attempt.notice(self)

    def set(self) -> None:
        """Something arrived on the stream."""
        self._attempt.notice(self)

    def expire(self) -> None:
        """Look at news that no task was waiting for."""
        self._attempt.review()

    # --- what the stream says --------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether the stream takes messages."""
        stream = self.stream
        return stream is not None and stream.failure is None and not stream.ended

    @property
    def answered(self) -> bool:
        """Whether this is an answer: response headers, which commit a call (gRFC A6), or OK without any."""
        stream = self.stream
        return stream is not None and (stream.headers is not None or self.succeeded)

    @property
    def succeeded(self) -> bool:
        """Whether the server has answered with OK."""
        stream = self.stream
        return stream is not None and stream.ended and outcome_of(stream.trailers).status is Status.OK

    @property
    def failed(self) -> Status | None:
        """The status that the attempt has failed with, None while it may still succeed."""
        stream = self.stream
        if stream is None:
            return None if self.refusal is None else self.refusal.status
        if stream.failure is not None:
            return stream.failure.status
        return outcome_of(stream.trailers).status if stream.ended else None

    @property
    def pushback(self) -> float | None:
        """The seconds that the server asks to wait, below 0 for "do not try again"."""
        stream = self.stream
        if stream is None or stream.failure is not None or stream.trailers is None:
            return None
        return read_pushback(stream.trailers.get(b"grpc-retry-pushback-ms"))

    def __repr__(self) -> str:
        state = "waiting" if self.waiting else "refused" if self.stream is None else repr(self.stream)
        return f"<Lane {self.number} {state}>"
