"""Those who wait for their entry: each hears as soon as it is certain what became of it."""

import pytest

from orbit_net.errors import OutcomeUnknown, ProposalDropped
from orbit_net.raft.messages import Entry
from orbit_net.raft.waiting import Waiter, Waiters

pytestmark = pytest.mark.anyio


def waiting(*places):
    """Return waiters at ``(index, term)``, and all of them together."""
    waiters, each = Waiters(), []
    for index, term in places:
        each.append(Waiter())
        waiters.expect(each[-1], index, term)
    return waiters, each


async def test_entries_behind_a_later_leaders_are_gone():
    """An entry of a later term before them shows that no leader to come has them (§5.4.3)."""
    waiters, (before, same, after) = waiting((5, 2), (6, 3), (7, 2))
    waiters.reached(4, 3)
    assert [waiter.done for waiter in (before, same, after)] == [True, False, True]
    for waiter in (before, after):
        with pytest.raises(ProposalDropped, match="later term"):
            await waiter.wait()
    waiters.done(Entry(3, 6), "result")
    assert await same.wait() == "result"
    assert len(waiters) == 0


async def test_entries_of_the_same_term_go_on_waiting():
    """What the same leader has appended may still be committed."""
    waiters, (waiter,) = waiting((5, 2))
    for index in range(1, 5):
        waiters.reached(index, 2)
    assert not waiter.done


async def test_a_snapshot_in_their_place():
    """Up to its index nobody can tell; behind it, entries of earlier terms are gone."""
    waiters, (inside, behind, later) = waiting((5, 2), (9, 2), (10, 4))
    waiters.skip_to(8, 4)
    with pytest.raises(OutcomeUnknown):
        await inside.wait()
    with pytest.raises(ProposalDropped):
        await behind.wait()
    assert not later.done
