"""The arithmetic of majorities and of a member's progress, against a second implementation that tries everything."""

from functools import cache
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_net.raft.membership import Membership
from orbit_net.raft.progress import Progress, Replication
from orbit_net.raft.quorum import Verdict, agreed, majority_active, verdict

pytestmark = pytest.mark.once

NAMES = "abcdefg"
names = st.sampled_from(NAMES)
members = st.builds(
    lambda voters, outgoing: Membership(frozenset(voters), outgoing=frozenset(outgoing)),
    st.sets(names, min_size=1),
    st.sets(names),
)


@cache
def quorums(membership):
    """Return every set of nodes that may decide."""
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    return [
        set(chosen)
        for size in range(len(NAMES) + 1)
        for chosen in combinations(NAMES, size)
        if all(len(half & set(chosen)) > len(half) / 2 for half in halves)
    ]


@given(members, st.dictionaries(names, st.integers(0, 9)))
@settings(max_examples=60)
def test_agreed_is_the_best_that_some_quorum_has_reached(membership, values):
    """The largest number that all nodes of some quorum have reached."""
    assert agreed(membership, values) == max(min(values.get(n, 0) for n in q) for q in quorums(membership))


@given(members, st.dictionaries(names, st.booleans()))
@settings(max_examples=60)
def test_a_vote_is_won_by_a_quorum_and_lost_when_none_can_come(membership, votes):
    """Won: some quorum said yes. Lost: every quorum has one who said no."""
    every = quorums(membership)
    if any(all(votes.get(n) for n in q) for q in every):
        expected = Verdict.WON
    elif all(any(votes.get(n) is False for n in q) for q in every):
        expected = Verdict.LOST
    else:
        expected = Verdict.PENDING
    assert verdict(membership, votes) is expected
    active = {n for n, vote in votes.items() if vote}
    assert majority_active(membership, active) is (expected is Verdict.WON)


def test_nobody_agrees_without_voters():
    """A node that is not yet a member commits nothing and elects nobody."""
    assert agreed(Membership(), {"a": 5}) == 0
    assert verdict(Membership(), {"a": True}) is not Verdict.WON


@given(st.sets(names, min_size=1), st.sets(names, min_size=1), st.sets(names))
@settings(max_examples=60)
def test_quorums_of_each_step_overlap(before, after, learners):
    """Thesis §4.1, Raft §6: any quorum before a step and any quorum after it share a node, so terms have one leader."""
    start = Membership.of(before)
    target = Membership.of(after, learners - after)
    step = start.towards(target)
    steps = [start, step, *([step.leave_joint()] if step.joint else [])]
    assert steps[-1] == target
    for first, second in pairwise(steps):
        assert all(a & b for a in quorums(first) for b in quorums(second))


def test_single_steps():
    """One member comes or goes without a joint step, and takes its address along."""
    now = Membership.of("ab", addresses={"a": "http://a", "b": "http://b"})
    later = now.with_learner("c", "http://c")
    assert (later.learners, dict(later.addresses)["c"]) == (frozenset("c"), "http://c")
    voter = later.with_voter("c", "http://c")
    assert (voter.voters, voter.learners) == (frozenset("abc"), frozenset())
    assert now.towards(voter) == voter
    assert voter.without("c") == now
    assert voter.members == frozenset("abc")


class Model:
    """The progress of a member, by the book: what was sent is kept as a plain list."""

    def __init__(self, next_index, window):
        self.match, self.next, self.window, self.state, self.sent = 0, next_index, window, "probe", []
        self.pending = 0

    def paused(self):
        if self.state == "snapshot":
            return True
        return len(self.sent) >= (self.window if self.state == "replicate" else 1)

    def acknowledge(self, match):
        if match < self.match:
            return
        self.match = match
        if self.state == "probe" or (self.state == "snapshot" and match >= self.pending):
            self.state, self.sent, self.next = "replicate", [], match + 1
        else:
            if self.state == "replicate":
                self.sent = [last for last in self.sent if last > match]
            self.next = max(self.next, match + 1)

    def reject(self, rejected, hint):
        if self.state == "replicate" and rejected > self.match:
            self.state, self.sent, self.next = "probe", [], self.match + 1
        elif self.state == "probe" and rejected == self.next - 1:
            self.next, self.sent = max(self.match + 1, min(rejected, hint + 1)), []


@given(st.integers(1, 9), st.integers(1, 3), st.data())
@settings(max_examples=80)
def test_progress_does_what_the_model_does(next_index, window, data):
    """After any sequence of events both agree, and 0 <= match < next."""
    progress, model = Progress(next_index, window), Model(next_index, window)
    for _ in range(data.draw(st.integers(1, 25))):
        event = data.draw(st.sampled_from(["send", "acknowledge", "reject", "snapshot", "unreachable"]))
        last = progress.next - 1
        if event == "send" and not progress.paused:
            upto = progress.next + data.draw(st.integers(0, 3))
            progress.sent(upto)
            model.sent.append(upto)
            if model.state == "replicate":
                model.next = upto + 1
        elif event == "acknowledge":
            match = data.draw(st.integers(0, max([last, *progress.inflight, progress.pending_snapshot])))
            assert progress.acknowledge(match) is (match > model.match)
            model.acknowledge(match)
        elif event == "reject":
            rejected, hint = data.draw(st.integers(0, last)), data.draw(st.integers(0, last))
            progress.reject(rejected, hint)
            model.reject(rejected, hint)
        elif event == "snapshot" and progress.state is not Replication.SNAPSHOT:
            progress.sent_snapshot(last + 5)
            model.state, model.sent, model.pending = "snapshot", [], last + 5
        elif event == "unreachable":
            progress.probe()
            model.state, model.sent, model.next = "probe", [], model.match + 1
        assert 0 <= progress.match < progress.next
        assert (progress.match, progress.next, progress.state.value) == (model.match, model.next, model.state)
        assert (list(progress.inflight), progress.paused) == (model.sent, model.paused())
        assert len(progress.inflight) <= window
