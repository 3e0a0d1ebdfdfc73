"""What a call has sent, kept while it can still be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orbit_net.net import Stream

__all__ = ["Replay", "ReplayBudget"]

_OVERHEAD: Final = 64
"""Bytes that a message takes beside its own: without them, empty messages would be kept without a limit."""


class ReplayBudget:
    """The bytes that all calls of a channel keep together: ``used`` of ``channel_limit``, ``call_limit`` for each."""

    __slots__ = ("call_limit", "channel_limit", "used")

    def __init__(self, call_limit: int, channel_limit: int) -> None:
        self.call_limit = call_limit
        self.channel_limit = channel_limit
        self.used = 0

    def __repr__(self) -> str:
        return f"<ReplayBudget {self.used} of {self.channel_limit} bytes>"


class Replay:
    """The messages of one call so far, or nothing once it is committed: a response began, or they grew too many.

    ``ended`` tells that the request is complete. Invariant: what the messages take is in ``budget.used`` exactly while
    the call is not committed.
    """

    __slots__ = ("_budget", "_messages", "_size", "committed", "ended")

    def __init__(self, budget: ReplayBudget) -> None:
        self._budget = budget
        self._messages: list[bytes] = []
        self._size = 0
        self.committed = False
        self.ended = False

    def record(self, message: bytes) -> None:
        """Keep a message that was sent."""
        budget = self._budget
        size = len(message) + _OVERHEAD
        if self._size + size > budget.call_limit or budget.used + size > budget.channel_limit:
            self.commit()
        else:
            self._size += size
            budget.used += size
            self._messages.append(message)

    def commit(self) -> None:
        """Give up the possibility: from now on the call fails as it fails."""
        self.committed = True
        if self._messages:
            self._budget.used -= self._size
            self._size = 0
            self._messages = []

    def send_again(self, stream: Stream) -> None:
        """Queue everything on a new stream."""
        messages = self._messages
        for message in messages[:-1]:
            stream.send(message)
        if messages:
            stream.send(messages[-1], end=self.ended)
        elif self.ended:
            stream.send_end()
