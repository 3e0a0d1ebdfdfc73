"""A question that a link carries, and what may become of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from orbit_net.errors import ConnectionLost, OrbitTimeout
from orbit_net.messaging.asker import LOST, TIMED_OUT
from orbit_net.model import Failure, InvocationFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.errors import OrbitError
    from orbit_net.messaging.asker import Asker
    from orbit_net.model import Content, Message, NodeId
    from orbit_net.net import Timer

__all__ = ["Awaited", "Carried", "Relayed", "size_of"]

_OVERHEAD: Final = 128
"""Bytes that a question takes beside its text, about."""


def size_of(content: Content) -> int:
    """Return about how many bytes a question occupies while it is queued."""
    arguments = getattr(content, "arguments", "")
    return len(arguments) + _OVERHEAD


class Carried:
    """A question in a link; exactly one of the three ends comes, and later ones have no effect."""

    __slots__ = ("idempotent", "message", "over", "size", "submitted")

    def __init__(self, message: Message, *, idempotent: bool) -> None:
        self.message = message
        self.idempotent = idempotent
        self.size = size_of(message.content)
        self.over = False
        self.submitted = False

    def again(self) -> None:
        """Count one more attempt."""
        self.message = replace(self.message, attempts=self.message.attempts + 1)

    def answer(self, content: Content, source: NodeId | None = None) -> None:
        """The peer has answered."""

    def undelivered(self, reason: OrbitError) -> None:
        """It did not reach an actor, and never will by this link."""

    def lost(self, reason: OrbitError) -> None:
        """It was sent, and nobody knows what became of it."""

    def expire(self) -> None:
        """Its time is up."""


class Awaited(Carried):
    """A question that a task of this node waits for: :attr:`event` is set at the end."""

    __slots__ = ("content", "error", "event", "reached", "source")

    def __init__(self, message: Message, *, idempotent: bool) -> None:
        super().__init__(message, idempotent=idempotent)
        self.event = anyio.Event()
        self.content: Content | None = None
        self.source: NodeId | None = None
        self.error: OrbitError | None = None
        self.reached = True

    @property
    def wanted(self) -> bool:
        """Whether a task still waits."""
        return not self.over

    def answer(self, content: Content, source: NodeId | None = None) -> None:
        """Keep the answer and wake the waiting task."""
        if not self.over:
            self.content, self.source = content, source
            self._end()

    def undelivered(self, reason: OrbitError) -> None:
        """Keep the reason; :attr:`reached` tells that trying again is safe."""
        if not self.over:
            self.reached = False
            self.error = reason
            self._end()

    def lost(self, reason: OrbitError) -> None:
        """Keep the reason."""
        if not self.over:
            self.error = ConnectionLost(f"the invocation was sent and may have been carried out: {reason}")
            self.error.__cause__ = reason
            self._end()

    def expire(self) -> None:
        """Keep a timeout."""
        if not self.over:
            self.error = OrbitTimeout("no answer came in time; the invocation may have been carried out")
            self._end()

    def _end(self) -> None:
        self.over = True
        self.event.set()


class Relayed(Carried):
    """A question of another node that this one passes on; how it ends is told to that node."""

    __slots__ = ("_asker", "_forget", "timer")

    def __init__(self, message: Message, asker: Asker, forget: Callable[[Relayed], None]) -> None:
        # Whether it may be repeated is known to the node that asks, not here.
        super().__init__(message, idempotent=False)
        self._asker = asker
        self._forget = forget
        self.timer: Timer | None = None

    def answer(self, content: Content, source: NodeId | None = None) -> None:
        """Pass the answer back, with the node that gave it."""
        self._end(content, source)

    def undelivered(self, reason: OrbitError) -> None:
        """Say that nothing reached an actor."""
        self._end(Failure(str(reason)))

    def lost(self, reason: OrbitError) -> None:
        """Say that the method may have run."""
        self._end(InvocationFailure(f"sent on and lost: {reason}", LOST))

    def expire(self) -> None:
        """Say that the next node took too long."""
        self._end(InvocationFailure("the next node did not answer in time", TIMED_OUT))

    def _end(self, content: Content, source: NodeId | None = None) -> None:
        if not self.over:
            self.over = True
            self._forget(self)
            self._asker.answer(content, source)
