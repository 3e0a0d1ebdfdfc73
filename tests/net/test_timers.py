"""Deadlines by one task."""

from random import Random

import anyio
import pytest

from orbit_net.net import Timers
from settle import turns, until

pytestmark = pytest.mark.anyio


class Target:
    """Notes in ``fired`` that it expired."""

    def __init__(self, fired, name="", also=None):
        self.fired = fired
        self.name = name
        self.also = also

    def expire(self):
        self.fired.append(self.name)
        if self.also is not None:
            self.also()


@pytest.fixture
async def timers():
    """Timers whose task runs."""
    timers = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timers.run)
        await turns(2)
        yield timers
        tasks.cancel_scope.cancel()


async def test_order_is_that_of_time_then_of_adding(timers):
    """Due timers fire in the order of their times, and equal ones in the order of adding."""
    fired = []
    now = anyio.current_time()
    for name, when in [("late", now + 0.02), ("first", now - 1), ("second", now - 1), ("earliest", now - 2)]:
        timers.add(when, Target(fired, name))
    assert len(timers) == 4
    await until(lambda: not len(timers))
    assert fired == ["earliest", "first", "second", "late"]


async def test_an_earlier_timer_wakes_the_task(timers):
    """A timer that is due before the one being waited for fires in its own time."""
    fired = []
    timers.add(anyio.current_time() + 3600, Target(fired, "far"))
    await turns(3)
    timers.add(anyio.current_time(), Target(fired, "near"))
    await until(lambda: fired == ["near"])
    assert len(timers) == 1


async def test_a_cancelled_timer_does_not_fire(timers):
    """After cancel the target is forgotten; cancelling twice, or after firing, changes nothing."""
    fired = []
    now = anyio.current_time()
    gone = timers.add(now + 0.01, Target(fired, "gone"))
    timers.cancel(gone)
    timers.cancel(gone)
    kept = timers.add(now + 0.02, Target(fired, "kept"))
    await until(lambda: fired == ["kept"])
    timers.cancel(kept)
    assert len(timers) == 0


async def test_expiring_may_add_and_cancel(timers):
    """A target that adds and cancels timers while it expires does not disturb the others."""
    fired = []
    now = anyio.current_time()
    others = [timers.add(now + 3600, Target(fired)) for _ in range(300)]

    def meddle():
        for timer in others:
            timers.cancel(timer)
        timers.add(now, Target(fired, "added"))

    timers.add(now, Target(fired, "meddler", meddle))
    timers.add(now, Target(fired, "next"))
    await until(lambda: len(fired) == 3)
    assert sorted(fired) == ["added", "meddler", "next"]
    assert len(timers) == 0


async def test_memory_follows_the_live_timers(timers):
    """Ten thousand timers that were cancelled leave no ten thousand entries."""
    random = Random(7)
    now = anyio.current_time()
    live = [timers.add(now + 1000 + random.random(), Target([])) for _ in range(100)]
    for _ in range(10_000):
        timers.cancel(timers.add(now + 1000 * random.random() + 10, Target([])))
    assert len(timers) == 100
    assert len(timers._heap) < 400
    for timer in live:
        timers.cancel(timer)
    assert len(timers) == 0
