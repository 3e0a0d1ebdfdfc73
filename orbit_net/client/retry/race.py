"""What stands in the place of a call's stream while several attempts run: it sends to all, and waits for the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from orbit_net.errors import LocalProtocolError
from orbit_net.net import Stream

if TYPE_CHECKING:
    from orbit_net.client.retry.hedged import HedgedAttempt
    from orbit_net.net import Connection, Failure

__all__ = ["Race"]


class Race(Stream):
    """The streams of a hedged call, in the shape of one that has received nothing yet.

    Receiving returns None when the race is decided: the call looks for its stream again then, and finds the winner. It
    never waits for room: what is queued on each attempt is bounded by the replay buffer of the call, and the call that
    outgrows it goes on with one attempt.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: HedgedAttempt, connection: Connection) -> None:
        super().__init__(connection, 0)
        self._attempt = attempt

    async def arrival(self) -> None:
        """Wait until the race is decided, or the call has failed.

        Cancellation: nothing is lost; the next call waits again.
        """
        attempt = self._attempt
        if self._waiter is not None:
            raise LocalProtocolError("another task is already receiving from this call")
        while not attempt.review():
            event = self._waiter = anyio.Event()
            try:
                await event.wait()
            finally:
                self._waiter = None
                attempt.review()  # for the others too: a cancelled task must not take the news with it

    @property
    def awaited(self) -> bool:
        """Whether a task waits for the decision."""
        return self._waiter is not None

    async def receive(self) -> bytes | None:
        """Wait until the race is decided, and return None."""
        await self.arrival()
        return None

    def send(self, message: bytes, *, end: bool = False) -> bool:
        """Queue a message on every attempt; on one only, if the call cannot keep it for the others."""
        attempt = self._attempt
        attempt.review()
        if attempt.replay.committed:
            attempt.commit()
            stream = attempt.stream
            return stream is None or stream.failure is not None or stream.ended or stream.send(message, end=end)
        for stream in attempt.running():
            stream.send(message, end=end)
        return True

    def send_end(self) -> None:
        """Queue the end of the request on every attempt."""
        self._attempt.review()
        for stream in self._attempt.running():
            stream.send_end()

    async def room(self) -> None:
        """Wait for room on the attempt that was chosen."""
        stream = self._attempt.stream
        if stream is not None and stream is not self:
            await stream.room()

    def reset(self, error_code: int) -> None:
        """Abandon all attempts at once."""
        for stream in self._attempt.running():
            stream.reset(error_code)

    def fail(self, failure: Failure) -> None:
        """End the call from our side."""
        self.failure = failure
        self.wake()

    def release(self) -> None:
        """Say that the call is over: all attempts are reset."""
        self._attempt.let_go()

    def __repr__(self) -> str:
        return f"<Race of {self._attempt!r}>"
