"""The questions of one link: numbered, queued, in flight. Pure state: no task, no clock.

    add ──▶ queued ──take──▶ in flight ──answered──▶ over
              ▲                  │ lost: may be repeated, attempts + 1
              └──────────────────┤
                                 └ lost: may not ──▶ over (failed)

A question is over exactly once, and leaves nothing behind then.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from orbit_net.model import Message

__all__ = ["Pending", "Question"]


class Question(Protocol):
    """What a link keeps of one question."""

    message: Message
    idempotent: bool
    size: int

    def again(self) -> None:
        """Count one more attempt."""


Kept = TypeVar("Kept", bound=Question)


class Pending(Generic[Kept]):
    """At most ``limit`` questions and, but for a single larger one, ``queue_limit`` queued bytes.

    Invariants: a number is in the queue or in flight, never in both; ``queued_size`` is the sum of the queue's sizes.
    """

    __slots__ = ("_flying", "_limit", "_queue", "_queue_limit", "_tries", "queued_size")

    def __init__(self, limit: int, queue_limit: int, tries: int) -> None:
        self._limit = limit
        self._queue_limit = queue_limit
        self._tries = tries
        self._queue: OrderedDict[int, Kept] = OrderedDict()
        self._flying: dict[int, Kept] = {}
        self.queued_size = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._flying)

    @property
    def queued(self) -> int:
        """How many wait to be sent."""
        return len(self._queue)

    def has_room(self, size: int) -> bool:
        """Whether a question of ``size`` bytes may be added."""
        return len(self) < self._limit and (not self._queue or self.queued_size + size <= self._queue_limit)

    def add(self, question: Kept) -> None:
        """Queue a question under its message's number."""
        self._queue[question.message.message_id] = question
        self.queued_size += question.size

    def take(self) -> Kept | None:
        """Return the next question to send, which is in flight from now on."""
        if not self._queue:
            return None
        number, question = self._queue.popitem(last=False)
        self.queued_size -= question.size
        self._flying[number] = question
        return question

    def answered(self, number: int) -> Kept | None:
        """Return the question that an answer belongs to, which is over; None for one that is not in flight."""
        return self._flying.pop(number, None)

    def withdraw(self, number: int) -> bool:
        """Forget a question that nobody waits for; return whether it was still queued, so that it was never sent."""
        question = self._queue.pop(number, None)
        if question is not None:
            self.queued_size -= question.size
            return True
        self._flying.pop(number, None)
        return False

    def lost(self) -> list[Kept]:
        """The connection is gone: return the questions that must fail, because they may have been carried out.

        Idempotent ones with tries left go back to the front of the queue, in their order.
        """
        failed = []
        again: list[Kept] = []
        for question in self._flying.values():
            if question.idempotent and question.message.attempts + 1 < self._tries:
                question.again()
                again.append(question)
            else:
                failed.append(question)
        self._flying.clear()
        for question in reversed(again):
            number = question.message.message_id
            self._queue[number] = question
            self._queue.move_to_end(number, last=False)
            self.queued_size += question.size
        return failed

    def unsent(self) -> list[Kept]:
        """Take out and return everything that is queued."""
        questions = list(self._queue.values())
        self._queue.clear()
        self.queued_size = 0
        return questions

    def unread(self) -> list[Kept]:
        """Take out and return everything in flight: the peer ended in good order and has answered all that it read."""
        questions = list(self._flying.values())
        self._flying.clear()
        return questions
