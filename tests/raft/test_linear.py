"""The checker of histories: it accepts what can be explained, and nothing else."""

import itertools
from random import Random

import pytest

from raftsim import Operation, is_linearizable

pytestmark = pytest.mark.once


def op(kind, argument, result, called, returned):
    return Operation(kind, argument, result, called, returned)


@pytest.mark.parametrize(
    ("expected", "operations"),
    [
        (True, []),
        (True, [op("write", 1, None, 0, 1), op("read", None, 1, 2, 3)]),
        (False, [op("write", 1, None, 0, 1), op("read", None, None, 2, 3)]),  # a stale read
        (True, [op("write", 1, None, 0, 5), op("read", None, None, 1, 2)]),  # concurrent: before the write
        (True, [op("write", 1, None, 0, 5), op("read", None, 1, 1, 2)]),  # concurrent: after it
        (False, [op("write", 1, None, 0, 9), op("read", None, 1, 1, 2), op("read", None, None, 3, 4)]),  # back in time
        (True, [op("write", 1, None, 0, None), op("read", None, None, 5, 6)]),  # lost, or late
        (True, [op("write", 1, None, 0, None), op("read", None, 1, 5, 6)]),
        (False, [op("read", None, 1, 0, 1), op("write", 1, None, 2, 3)]),  # from the future
        (True, [op("cas", (None, 1), True, 0, 1), op("cas", (None, 2), False, 2, 3)]),
        (False, [op("cas", (None, 1), True, 0, 1), op("cas", (None, 2), True, 2, 3)]),  # both cannot have won
        (True, [op("cas", (None, 1), None, 0, None), op("read", None, 1, 5, 6)]),
    ],
)
def test_known_histories(expected, operations):
    """Small histories with known answers."""
    assert is_linearizable(operations) is expected


def by_trying_all(operations):
    """Try every order; the second, dumb implementation."""
    for count in range(len(operations) + 1):
        for order in itertools.permutations(operations, count):
            if any(o.returned is not None and o not in order for o in operations):
                continue
            if any(b.returned is not None and b.returned < a.called for a, b in itertools.combinations(order, 2)):
                continue
            state, good = None, True
            for o in order:
                if o.kind == "read":
                    good = good and (o.returned is None or o.result == state)
                elif o.kind == "write":
                    state = o.argument
                else:
                    won = state == o.argument[0]
                    good = good and (o.returned is None or o.result == won)
                    state = o.argument[1] if won else state
            if good:
                return True
    return False


def test_same_answer_as_trying_every_order():
    """On random histories the search and the dumb search agree."""
    random = Random(3)
    answers = []
    for _ in range(400):
        operations = []
        for _ in range(random.randrange(1, 6)):
            called = random.randrange(8)
            returned = None if random.random() < 0.2 else called + random.randrange(1, 5)
            kind = random.choice(["read", "write", "cas"])
            argument = {"read": None, "write": random.randrange(2), "cas": (random.choice([None, 0, 1]), 1)}[kind]
            result = {"read": random.choice([None, 0, 1]), "write": None, "cas": random.random() < 0.5}[kind]
            operations.append(op(kind, argument, result, called, returned))
        expected = by_trying_all(operations)
        answers.append(expected)
        assert is_linearizable(operations) is expected, operations
    assert 40 < sum(answers) < 360
