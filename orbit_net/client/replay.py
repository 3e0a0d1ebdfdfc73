"""What a call has sent, kept while it can still be sent again to a server that never saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orbit_net.net import Stream

__all__ = ["Replay"]

_LIMIT: Final = 262_144
"""Bytes kept for one call, gRFC A6's default for its retry buffer."""


class Replay:
    """The messages of one call so far, or nothing once it is committed: a response began, or they grew too many.

    ``ended`` tells that the request is complete, ``used`` that the one transparent retry has been begun.
    """

    __slots__ = ("_messages", "_size", "committed", "ended", "used")

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._size = 0
        self.committed = False
        self.ended = False
        self.used = False

    def record(self, message: bytes) -> None:
        """Keep a message that was sent."""
        self._size += len(message)
        if self._size > _LIMIT:
            self.commit()
        else:
            self._messages.append(message)

    def commit(self) -> None:
        """Give up the possibility: from now on the call fails as it fails."""
        self.committed = True
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
