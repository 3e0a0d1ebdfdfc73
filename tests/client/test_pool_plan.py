"""The pool's decision, from a picture of its connections."""

import pytest

from orbit_net.client.pool.plan import Plan, Standing, plan
from orbit_net.client.pool.stats import Tally

HOUR = 3_600.0


def one(active, capacity=2, created=0.0, last_used=0.0):
    """Return a connection."""
    return Standing(active, capacity, created, last_used)


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ([], Plan((), 0)),
        ([one(0)], Plan((), 0)),
        ([one(1)], Plan((), 0)),
        ([one(2)], Plan((), 1)),
        ([one(2), one(1)], Plan((), 1)),
        ([one(1), one(0)], Plan((), 0)),
        ([one(2), one(2)], Plan((), 2)),
        ([one(2), one(3), one(2)], Plan((), 0)),
        ([one(4), one(3), one(5)], Plan((), 1)),
        ([one(0, capacity=0)], Plan((), 1)),
    ],
)
def test_a_call(connections, expected):
    """It goes to the first connection with room, else to a new one, else, at the limit, to the least busy."""
    assert plan(connections, 1.0, limit=3, max_age=HOUR, call=True) == expected


def test_age():
    """A connection over its age is closed when idle, and otherwise takes no more calls; the limit is for others."""
    connections = [one(0), one(1), one(0, created=10.0)]
    assert plan(connections, HOUR, limit=1, max_age=HOUR, call=True) == Plan((0,), 2)
    assert plan(connections[:2], HOUR, limit=1, max_age=HOUR, call=True) == Plan((0,), 2)
    assert plan(connections, HOUR - 1, limit=1, max_age=HOUR) == Plan(())


def test_idleness():
    """What has had no calls for long enough is closed, what has calls is not."""
    connections = [one(0, last_used=5.0), one(1, last_used=0.0), one(0, last_used=6.0)]
    assert plan(connections, 15.0, limit=3, max_age=HOUR, max_idle=10.0) == Plan((0,))
    assert plan(connections, 15.0, limit=3, max_age=HOUR, max_idle=0.0) == Plan((0, 2))


def test_the_moving_average():
    """The first sample is the average, each further one counts a tenth."""
    tally = Tally(0.0)
    assert tally.latency == 0
    for seconds in (1.0, 2.0, None, 0.0):
        tally.begun(1.0)
        tally.ended(2.0, error=seconds is None, seconds=seconds)
    assert tally.latency == pytest.approx((1.0 * 0.9 + 2.0 * 0.1) * 0.9)
    assert (tally.requests, tally.errors, tally.last_used) == (4, 1, 2.0)
