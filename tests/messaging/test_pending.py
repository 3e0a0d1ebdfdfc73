"""The table of a link's questions, against a model: nothing is lost, nothing is there twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.messaging.pending import Pending
from orbit_net.model import AddressableReference, Invocation, Message, StringKey

INVOCATION = Invocation(AddressableReference("A", StringKey("1")), "m")


class Asked:
    """A question of a given size."""

    def __init__(self, number, *, idempotent=False, size=1):
        self.message = Message(number, INVOCATION)
        self.idempotent = idempotent
        self.size = size

    def again(self):
        self.message = replace(self.message, attempts=self.message.attempts + 1)


def numbers(questions):
    """Return the numbers of questions."""
    return [question.message.message_id for question in questions]


def test_a_lost_connection_brings_back_what_may_be_repeated():
    """In its order, before what was never sent, with one attempt more; the rest fails."""
    pending = Pending(10, 10, 3)
    for number in range(6):
        pending.add(Asked(number, idempotent=number % 2 == 0))
    for _ in range(4):
        pending.take()
    assert numbers(pending.lost()) == [1, 3]
    assert [(q.message.message_id, q.message.attempts) for q in iter(pending.take, None)] == [
        (0, 1),
        (2, 1),
        (4, 0),
        (5, 0),
    ]


def test_repeating_ends():
    """After the last try an idempotent question fails as well."""
    pending = Pending(10, 10, 3)
    pending.add(Asked(1, idempotent=True))
    for _ in range(2):
        pending.take()
        assert pending.lost() == []
    pending.take()
    assert numbers(pending.lost()) == [1]
    assert len(pending) == 0


def test_room_is_counted_in_questions_and_in_bytes():
    """What is in flight counts as a question; one that is larger than the queue goes when the queue is empty."""
    pending = Pending(3, 10, 1)
    assert pending.has_room(100)
    pending.add(Asked(1, size=100))
    assert not pending.has_room(1)
    pending.take()
    assert pending.has_room(1)
    pending.add(Asked(2, size=1))
    assert not pending.has_room(10)
    pending.add(Asked(3, size=1))
    assert not pending.has_room(0)
    assert pending.withdraw(2)
    assert not pending.withdraw(1)
    assert not pending.withdraw(99)
    assert pending.has_room(9)


STEPS = st.lists(
    st.sampled_from(["add", "add!", "take", "answer", "withdraw", "lost", "unsent", "unread"]), max_size=60
)


@given(STEPS, st.data())
def test_every_question_is_over_exactly_once(steps, data):
    """Whatever happens in whatever order, a number is in the table until it was handed out, and never again."""
    pending, alive, over = Pending(1000, 1000, 3), {}, []
    for number, step in enumerate(steps):
        if step.startswith("add"):
            alive[number] = Asked(number, idempotent=step == "add!", size=number)
            pending.add(alive[number])
        elif step == "take":
            pending.take()
        elif step in ("answer", "withdraw") and alive:
            chosen = data.draw(st.sampled_from(sorted(alive)))
            if step == "withdraw":
                pending.withdraw(chosen)
                over.append(chosen)
            elif pending.answered(chosen) is not None:
                over.append(chosen)
        elif step in ("lost", "unsent", "unread"):
            over += numbers(getattr(pending, step)())
        for number_over in over:
            alive.pop(number_over, None)
        assert len(pending) == len(alive)
        assert pending.queued_size == sum(q.size for q in pending._queue.values())
        assert not set(pending._queue) & set(pending._flying)
    assert len(over) == len(set(over))


def test_an_answer_without_a_question_is_nobodys():
    """A late answer finds nothing."""
    assert Pending(1, 1, 1).answered(7) is None


@pytest.mark.parametrize("step", ["unsent", "unread", "lost"])
def test_an_empty_table_gives_nothing(step):
    """No question, nothing to end."""
    assert getattr(Pending(1, 1, 1), step)() == []
