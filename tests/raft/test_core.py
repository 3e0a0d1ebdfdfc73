"""The core by the sections of the papers: § is Ongaro and Ousterhout (extended version), "thesis" is Ongaro's."""

from dataclasses import replace
from random import Random

import pytest

from orbit_net.errors import ConfigurationError, InternalError, NotLeader, ProposalDropped
from orbit_net.raft import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    CoreConfig,
    Entry,
    HardState,
    InstallSnapshot,
    Membership,
    RaftCore,
    RaftLog,
    Role,
    Snapshot,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from orbit_net.raft.progress import Replication
from raftnet import CONFIG, Net, Node

pytestmark = pytest.mark.once

PLAIN = replace(CONFIG, pre_vote=False, check_quorum=False)


def log(*terms):
    """Return entries with these terms from index 1 on."""
    return tuple(Entry(term, index, b"%d" % index) for index, term in enumerate(terms, 1))


def terms(core):
    """Return the terms of all entries of a core's log."""
    return [core.log.term(index) for index in range(core.log.base + 1, core.log.last_index + 1)]


def step(node, message):
    """Step one message and return what comes out."""
    node.core.step(message)
    return node.collect()


def alone(entries=(), *, term=None, vote=None, config=CONFIG):
    """Return node a of three, whose others are the test."""
    term = (entries[-1].term if entries else 0) if term is None else term
    return Node("a", Membership.of("abc"), config, entries, term, vote)


# --- §5.1, §5.2: terms and elections -------------------------------------------------------------


def test_a_node_begins_as_a_follower():
    """§5.2: when servers start up, they begin as followers."""
    node = alone(term=3)
    assert (node.core.role, node.core.term, node.core.leader) == (Role.FOLLOWER, 3, None)
    assert "follower of term 3" in repr(node.core)


def test_a_follower_that_hears_nothing_asks_and_then_stands():
    """§5.2 and thesis §9.6: it first asks whether it could win, in its next term, and stands when a majority agrees."""
    node = alone()
    for _ in range(20):
        node.core.tick()
    asked = node.collect()
    assert [(m.target, m.term, m.pre_vote) for m in asked] == [("b", 1, True), ("c", 1, True)]
    assert (node.core.role, node.core.term) == (Role.PRE_CANDIDATE, 0)
    out = step(node, VoteResponse(1, "b", "a", True, pre_vote=True))
    assert [(m.target, m.term, m.pre_vote) for m in out] == [("b", 1, False), ("c", 1, False)]
    assert (node.core.role, node.core.term, node.core.vote) == (Role.CANDIDATE, 1, "a")


def test_elections_are_spread():
    """§5.2: election timeouts are chosen randomly from a fixed interval."""
    waits = set()
    for seed in range(40):
        core = Node("a", Membership.of("abc"), CONFIG, seed=seed).core
        ticks = 0
        while core.role is Role.FOLLOWER:
            core.tick()
            ticks += 1
        waits.add(ticks)
    assert min(waits) >= 10
    assert max(waits) < 20
    assert len(waits) > 5


def test_a_majority_makes_a_leader_and_the_leader_makes_a_no_op():
    """§5.2 and §8: the winner tells everyone, with an empty entry of its term."""
    net = Net(3)
    core = net.elect("a")
    assert [net[name].leader for name in "abc"] == ["a", "a", "a"]
    assert terms(core) == [core.term]
    assert core.log.commit == 1
    assert core.status().matches == {"b": 1, "c": 1}


def test_a_candidate_that_loses_follows():
    """§5.2: a majority of refusals ends the candidacy; a new one begins after another timeout."""
    node = alone(config=PLAIN)
    while node.core.role is not Role.CANDIDATE:
        node.core.tick()
    node.collect()
    step(node, VoteResponse(1, "b", "a", False))
    assert node.core.role is Role.CANDIDATE
    step(node, VoteResponse(1, "c", "a", False))
    assert (node.core.role, node.core.term) == (Role.FOLLOWER, 1)


def test_split_votes_are_tried_again():
    """§5.2: nobody wins, and a new election begins in a new term."""
    node = alone(config=PLAIN)
    while node.core.role is not Role.CANDIDATE:
        node.core.tick()
    while node.core.term < 2:
        node.core.tick()
    assert node.core.role is Role.CANDIDATE


@pytest.mark.parametrize("role", [Role.PRE_CANDIDATE, Role.CANDIDATE])
def test_a_candidate_that_hears_a_leader_follows_it(role):
    """§5.2: an append of a term as high as its own is from the legitimate leader."""
    node = alone(config=CONFIG if role is Role.PRE_CANDIDATE else PLAIN)
    while node.core.role is not role:
        node.core.tick()
    node.collect()
    step(node, AppendEntriesRequest(node.core.term, "b", "a", 0, 0))
    assert (node.core.role, node.core.leader) == (Role.FOLLOWER, "b")


@pytest.mark.parametrize(
    "message",
    [
        AppendEntriesRequest(7, "b", "a", 0, 0),
        AppendEntriesResponse(7, "b", "a", True),
        VoteResponse(7, "b", "a", False),
        VoteResponse(7, "b", "a", False, pre_vote=True),
    ],
)
def test_a_higher_term_makes_a_follower(message):
    """§5.1: a leader that learns of a higher term reverts to follower state at once."""
    net = Net(3)
    net.elect("a")
    step(net.nodes["a"], message)
    assert (net["a"].role, net["a"].term) == (Role.FOLLOWER, 7)
    assert net["a"].leader == ("b" if isinstance(message, AppendEntriesRequest) else None)


def test_old_terms_are_refused_with_the_present_one():
    """§5.1: a request with a stale term is rejected; a stale answer is ignored."""
    node = alone(term=5)
    [answer] = step(node, AppendEntriesRequest(4, "b", "a", 0, 0, context=9))
    assert (answer.term, answer.success, answer.context) == (5, False, 9)
    [answer] = step(node, InstallSnapshot(4, "b", "a", Snapshot(9, 4)))
    assert (answer.term, answer.success) == (5, False)
    [answer] = step(node, VoteRequest(4, "b", "a", 9, 4))
    assert (answer.term, answer.granted) == (5, False)
    assert step(node, AppendEntriesResponse(4, "b", "a", True)) == []
    assert step(node, TimeoutNow(4, "b", "a")) == []


def test_one_vote_a_term_first_come_first_served():
    """§5.2: each server votes for at most one candidate in a term; to the same one it says yes again."""
    node = alone()
    answers = [step(node, VoteRequest(1, name, "a", 0, 0))[0].granted for name in "bcb"]
    assert answers == [True, False, True]


def test_a_vote_survives_a_restart():
    """§5.2, figure 2: the vote is durable before the answer leaves."""
    node = alone()
    node.core.step(VoteRequest(1, "b", "a", 0, 0))
    assert node.collect(persist=False) == []
    assert node.pending.hard_state == HardState(1, "b")
    assert [m.granted for m in node.persist()] == [True]
    node.restart()
    assert [m.granted for m in step(node, VoteRequest(1, "c", "a", 0, 0))] == [False]


def test_a_candidates_own_vote_counts_when_it_is_durable():
    """Figure 2: without that, a leader of one could forget its term and lead it again with other entries."""
    node = Node("a", Membership.of("a"), CONFIG)
    while node.core.role is Role.FOLLOWER:
        node.core.tick()
    node.collect(persist=False)
    assert (node.core.role, node.pending.hard_state) == (Role.CANDIDATE, HardState(1, "a"))
    node.persist()
    assert node.core.role is Role.LEADER


def test_a_step_down_while_the_vote_is_written_ends_the_candidacy():
    """The write that ends after a newer term has begun elects nobody."""
    node = Node("a", Membership.of("a"), PLAIN)
    while node.core.role is Role.FOLLOWER:
        node.core.tick()
    node.collect(persist=False)
    node.core.step(VoteRequest(9, "b", "a", 5, 8))
    node.persist()
    assert (node.core.role, node.core.term) == (Role.FOLLOWER, 9)
    node.core.advance()  # nothing is on its way: no effect


def test_a_candidacy_that_was_renewed_while_the_vote_was_written_waits_for_its_own_write():
    """The vote of the earlier term elects nobody in the later one."""
    node = Node("a", Membership.of("a"), PLAIN)
    while node.core.role is Role.FOLLOWER:
        node.core.tick()
    node.collect(persist=False)
    for _ in range(20):
        node.core.tick()
    assert node.core.term == 2
    node.persist()
    assert node.core.role is Role.CANDIDATE
    node.collect()
    assert node.core.role is Role.LEADER


# --- §5.3: log replication -----------------------------------------------------------------------


def test_a_proposal_is_applied_everywhere():
    """§5.3: replicated, committed by a majority, applied on all in the order of the log."""
    net = Net(3)
    core = net.elect("a")
    assert [core.propose(b"x"), core.propose(b"y")] == [2, 3]
    net.settle()
    assert [net.nodes[name].applied for name in "abc"] == [[b"x", b"y"]] * 3


def test_the_leader_commits_without_the_slow():
    """§5.3: a majority is enough; one slow server does not delay it."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("c")
    core.propose(b"x")
    net.settle()
    assert net.nodes["a"].applied == [b"x"]
    net.isolate("b")
    core.propose(b"y")
    net.settle()
    assert net.nodes["a"].applied == [b"x"]


def test_a_followers_answer_waits_for_its_disk():
    """§5.3, figure 2: what is acknowledged is durable."""
    node = alone()
    node.core.step(AppendEntriesRequest(1, "b", "a", 0, 0, log(1)))
    assert node.collect(persist=False) == []
    assert [m.match for m in node.persist()] == [1]


def test_the_leaders_own_entry_counts_when_it_is_durable():
    """Thesis §10.2.1: the leader writes while others write, and counts itself when done."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("c")
    core.propose(b"x")
    request = net.nodes["a"].collect(persist=False)[0]
    [answer] = step(net.nodes["b"], request)
    core.step(answer)
    assert core.log.commit == 1
    net.nodes["a"].persist()
    assert core.log.commit == 2


@pytest.mark.parametrize(
    ("follower", "name"),
    [
        ((1, 1, 1, 4, 4, 5, 5, 6, 6), "a"),
        ((1, 1, 1, 4), "b"),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), "c"),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), "d"),
        ((1, 1, 1, 4, 4, 4, 4), "e"),
        ((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), "f"),
    ],
)
def test_the_leader_brings_logs_into_agreement(follower, name):
    """§5.3, figure 7: each of the logs a to f becomes the leader's."""
    leader = log(1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    net = Net(3, logs=[leader, log(*follower), leader], terms=[7, 7, 7])
    core = net.elect("a")
    net.tick(5)
    assert terms(net["b"]) == terms(core) == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, core.term]
    assert net["b"].log.commit == core.log.last_index, name


def test_conflicts_are_skipped_by_terms():
    """§5.3, last part: one rejected request a conflicting term, not one an entry."""
    leader, follower = log(*[1] * 5, *[4] * 30), log(*[1] * 5, *[2] * 30)
    net = Net(3, logs=[leader, follower, leader], terms=[4, 4, 4])
    net.elect("a")
    net.tick(5)
    assert len(net.sent(AppendEntriesResponse, sender="b", success=False)) <= 2
    assert terms(net["b"]) == terms(net["a"])


def test_the_previous_entry_must_match():
    """§5.3: the consistency check; the answer says where agreement is possible."""
    node = alone(log(1, 1, 2), term=2)
    [answer] = step(node, AppendEntriesRequest(3, "b", "a", 5, 2, ()))
    assert (answer.success, answer.match, answer.match_term, answer.rejected) == (False, 3, 2, 5)
    [answer] = step(node, AppendEntriesRequest(3, "b", "a", 3, 1, log(1, 1, 1, 3)[3:]))
    assert (answer.success, answer.match, answer.match_term) == (False, 2, 1)
    assert terms(node.core) == [1, 1, 2]


def test_an_old_request_removes_nothing():
    """§5.3: entries after the last new one stay unless they conflict: they may be acknowledged."""
    node = alone()
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1, 1)))
    [answer] = step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1), leader_commit=3))
    assert terms(node.core) == [1, 1, 1]
    assert (answer.match, node.core.log.commit) == (1, 1)


def test_a_request_from_before_what_is_committed_is_taken_from_there():
    """§5.4.3: what is committed agrees."""
    node = alone()
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1), leader_commit=2))
    [answer] = step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1, 1), leader_commit=3))
    assert (answer.success, answer.match, node.core.log.commit) == (True, 3, 3)
    [answer] = step(node, AppendEntriesRequest(1, "b", "a", 1, 1))
    assert (answer.success, answer.match) == (True, 3)


def test_appends_are_limited_and_pipelined():
    """§5.3 and thesis §10.2.1: many requests are sent before the first answer, each within the limits."""
    net = Net(3, config=replace(CONFIG, max_entries=2, max_bytes=3, max_inflight=2))
    core = net.elect("a")
    for command in (b"1", b"2", b"3", b"444", b"5", b"6"):
        core.propose(command)
    sent = [m for m in net.nodes["a"].collect() if m.target == "b"]
    assert [[e.command for e in m.entries] for m in sent] == [[b"1", b"2"], [b"3"]]
    assert len(core.progress["b"].inflight) == 2
    net.settle()
    for message in sent:
        net["b"].step(message)
    net.settle()
    net.tick(4)
    assert net.nodes["b"].applied == [b"1", b"2", b"3", b"444", b"5", b"6"]


def test_a_lost_append_is_found_by_the_next_heartbeat():
    """§5.3: the leader retries until all followers have all entries."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("b")
    core.propose(b"x")
    net.settle()
    net.heal()
    assert core.progress["b"].next == 3
    net.tick(4)
    assert net.nodes["b"].applied == [b"x"]


def test_an_unreachable_member_is_probed():
    """What was sent ahead is sent again; a node that is not known is ignored."""
    net = Net(3)
    core = net.elect("a")
    core.report_unreachable("b")
    assert (core.progress["b"].state, core.progress["b"].active) == (Replication.PROBE, False)
    core.report_unreachable("zz")
    net.tick(4)
    assert core.progress["b"].state is Replication.REPLICATE


def test_delayed_answers_change_nothing():
    """Repeated, late and reordered answers are harmless."""
    net = Net(3)
    core = net.elect("a")
    core.propose(b"x")
    net.settle()
    before = repr(core.progress["b"])
    for answer in (
        AppendEntriesResponse(core.term, "b", "a", True, match=1),
        AppendEntriesResponse(core.term, "b", "a", False, match=0, rejected=1),
        AppendEntriesResponse(core.term, "stranger", "a", True, match=9),
        VoteResponse(core.term, "b", "a", True),
    ):
        core.step(answer)
    assert repr(core.progress["b"]) == before


# --- §5.4: safety --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"), [(2, 2, True), (3, 2, True), (1, 3, True), (1, 2, False), (9, 1, False)]
)
def test_candidates_with_stale_logs_lose(last_index, last_term, granted):
    """§5.4.1: the later last term, then the longer log."""
    for pre_vote in (False, True):
        node = alone(log(1, 2), term=2)
        [answer] = step(node, VoteRequest(3, "b", "a", last_index, last_term, pre_vote))
        assert answer.granted is granted
        assert node.core.term == (2 if pre_vote else 3)


def test_entries_of_earlier_terms_are_not_committed_by_counting():
    """§5.4.2, figure 8: only when an entry of the leader's own term is, and then with it."""
    net = Net(3, logs=[log(1, 2), log(1, 2), log(1)], terms=[3, 3, 3], config=PLAIN)
    core = net["a"]
    while core.role is not Role.CANDIDATE:
        core.tick()
    net.nodes["a"].collect()
    core.step(VoteResponse(core.term, "b", "a", True))
    assert core.role is Role.LEADER
    core.step(AppendEntriesResponse(core.term, "b", "a", True, match=2))
    core.step(AppendEntriesResponse(core.term, "c", "a", True, match=2))
    assert core.log.commit == 0
    net.nodes["a"].collect()
    core.step(AppendEntriesResponse(core.term, "b", "a", True, match=3))
    assert core.log.commit == 3


# --- §6 and thesis chapter 4: members ------------------------------------------------------------


def test_a_learner_gets_the_log_and_has_no_vote():
    """Thesis §4.2.1: a non-voting member is not counted, and never stands."""
    net = Net(3, learners=["l"])
    core = net.elect("a")
    core.propose(b"x")
    net.settle()
    assert net.nodes["l"].applied == [b"x"]
    net.isolate("b", "c")
    core.propose(b"y")
    net.settle()
    assert core.log.commit == 2
    for _ in range(50):
        net["l"].tick()
    assert net["l"].role is Role.FOLLOWER


def test_one_voter_is_added_in_one_step_and_counts_at_once():
    """Thesis §4.1: the new configuration is in force from its entry on."""
    net = Net(3)
    core = net.elect("a")
    net.add("d")
    assert core.propose_membership(Membership.of("abcd"), command=b"join") == 2
    assert core.log.membership.voters == frozenset("abcd")
    net.tick(8)
    assert net["d"].log.membership.voters == frozenset("abcd")
    net.isolate("b", "c")
    core.propose(b"x")
    net.settle()
    assert core.log.commit == 2  # two of four are no majority


def test_many_voters_are_changed_jointly():
    """§6: the joint membership needs both majorities; the final one follows by itself."""
    net = Net(3)
    core = net.elect("a")
    for name in "de":
        net.add(name)
    core.propose_membership(Membership.of("ade", "c"))
    assert core.log.membership.joint
    net.isolate("b", "c")
    net.tick(4)
    assert core.progress["d"].match == 2
    assert core.log.commit == 1  # the majority of the new alone does not do
    net.heal()
    net.isolate("d", "e")
    net.nodes["b"].core.step(AppendEntriesRequest(core.term, "a", "b", 1, core.term))
    assert core.log.commit == 1
    net.heal()
    net.tick(12)
    assert core.log.membership == Membership.of("ade", "c")
    assert core.log.commit == core.log.last_index == 3
    assert "b" not in core.progress


def test_changes_come_one_at_a_time_and_after_an_entry_of_the_term():
    """Thesis §4.1 and its erratum: the last change, and something of this term, must be committed first."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("a")
    core.propose_membership(Membership.of("ab"))
    with pytest.raises(ProposalDropped, match="not committed yet"):
        core.propose_membership(Membership.of("abc"))
    fresh = Net(3, config=PLAIN)
    core = fresh["a"]
    while core.role is not Role.CANDIDATE:
        core.tick()
    fresh.nodes["a"].collect()
    core.step(VoteResponse(1, "b", "a", True))
    with pytest.raises(ProposalDropped, match="nothing of this term"):
        core.propose_membership(Membership.of("ab"))
    with pytest.raises(ConfigurationError, match="learner and voter"):
        Membership.of("a", "a")


def test_senseless_members_are_refused():
    """A cluster needs a voter."""
    core = Net(3)
    leader = core.elect("a")
    for target in (Membership.of(""), Membership(frozenset("a"), outgoing=frozenset("b"))):
        with pytest.raises(ProposalDropped, match="need a voter"):
            leader.propose_membership(target)


def test_a_removed_leader_steps_down_after_the_commit():
    """§6: it manages a cluster that it is no part of, and does not count itself, until the change is committed."""
    net = Net(3)
    core = net.elect("a")
    core.propose_membership(Membership.of("bc"))
    assert core.role is Role.LEADER
    net.settle()
    assert (core.role, core.leader) == (Role.FOLLOWER, None)
    assert net["b"].log.commit == 2
    for _ in range(60):
        core.tick()
    assert core.role is Role.FOLLOWER
    net.tick(40)
    assert net.leader().id in "bc"


def test_a_removed_member_hears_of_it():
    """The leader goes on sending to it until the change is committed and an election timeout has passed."""
    net = Net(3)
    core = net.elect("a")
    core.propose_membership(Membership.of("ab"))
    net.tick(4)
    assert net["c"].log.commit == 2
    net.tick(20)
    assert "c" not in core.progress


def test_a_change_that_is_not_committed_keeps_everyone():
    """§6: while a change is open, nothing is concluded from it: an older entry commits, nobody is forgotten."""
    net = Net(3, config=PLAIN)
    core = net.elect("a")
    net.isolate("a")
    core.propose(b"x")
    core.propose_membership(Membership.of("ab"))
    net.settle()
    core.step(AppendEntriesResponse(core.term, "b", "a", True, match=2))
    assert (core.log.commit, core.log.membership_index) == (2, 3)
    net.tick(11, "a")
    assert sorted(core.progress) == ["b", "c"]


def test_a_change_that_another_leader_removes_is_undone():
    """§6: a server uses the latest configuration in its log; when that entry goes, the one before is back."""
    node = alone()
    change = Entry(1, 2, b"", Membership.of("abcd"))
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0, (Entry(1, 1), change)))
    assert node.core.log.membership == Membership.of("abcd")
    step(node, AppendEntriesRequest(2, "c", "a", 1, 1, (Entry(2, 2),)))
    assert node.core.log.membership == Membership.of("abc")


# --- §7: snapshots -------------------------------------------------------------------------------


def compacted(count=6):
    net = Net(3)
    core = net.elect("a")
    net.isolate("c")
    for number in range(count):
        core.propose(b"%d" % number)
    net.settle()
    net.nodes["a"].compact()
    net.nodes["b"].compact()
    net.heal()
    return net, core


def test_a_follower_that_needs_what_is_compacted_gets_a_snapshot():
    """§7: then it goes on from there."""
    net, core = compacted()
    net.tick(4)
    assert net.nodes["c"].restored.data == b"state 7"
    core.propose(b"more")
    net.settle()
    assert net.nodes["c"].applied == [b"more"]
    assert net["c"].log.base == 7
    assert len(net.snapshots()) == 1


@pytest.mark.parametrize("keep", [6, 100])
def test_compaction_keeps_what_followers_may_need(keep):
    """What is kept goes out as entries: no snapshot is sent."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("c")
    for number in range(6):
        core.propose(b"%d" % number)
    net.settle()
    net.nodes["a"].compact(keep=keep)
    net.heal()
    net.tick(4)
    assert net.snapshots() == []
    assert len(net.nodes["c"].applied) == 6


def test_nothing_is_sent_instead_of_a_snapshot_to_the_dead():
    """§7: a member that does not answer is sent no snapshot; one that is on its way is not sent again."""
    net, core = compacted()
    net.isolate("c")
    core.progress["c"].active = False
    net.tick(20)
    assert net.snapshots() == []
    net.heal()
    net.cut = {("a", "c")}
    core.step(AppendEntriesResponse(core.term, "c", "a", False, match=0, rejected=core.progress["c"].next - 1))
    net.settle()
    net.tick(30)
    assert len(net.snapshots()) == 1
    assert core.progress["c"].paused


def test_a_lost_snapshot_is_sent_again_after_a_while():
    """§7: by the report of the transport, or by its own patience."""
    for report in (True, False):
        net, core = compacted()
        net.tick(1)
        net.nodes["c"].restart()
        core.progress["c"].match, core.progress["c"].next = 0, 1
        core.progress["c"].sent_snapshot(7)
        assert not core.progress["c"].acknowledge(0)
        net.tick(10)
        before = len(net.snapshots())
        if report:
            core.report_unreachable("c")
        net.tick(8 if report else 200)
        assert len(net.snapshots()) == before + 1
        assert net["c"].log.commit == 7


def test_a_snapshot_that_is_not_news_changes_nothing():
    """§7: stale snapshots are ignored; one of a prefix of the log keeps what follows."""
    node = alone()
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1, 1), leader_commit=1))
    [answer] = step(node, InstallSnapshot(1, "b", "a", Snapshot(1, 1, Membership.of("abc"), b"old")))
    assert (node.restored, answer.match, terms(node.core)) == (None, 1, [1, 1, 1])
    [answer] = step(node, InstallSnapshot(1, "b", "a", Snapshot(2, 1, Membership.of("abc"), b"known")))
    assert (node.restored, answer.match, node.core.log.commit) == (None, 2, 2)
    assert terms(node.core) == [1, 1, 1]


def test_a_snapshot_replaces_a_log_that_conflicts():
    """§7: the whole log goes, also what was just being written."""
    node = alone(log(1, 1), term=1)
    node.core.step(AppendEntriesRequest(1, "b", "a", 2, 1, log(1, 1, 1)[2:]))
    node.collect(persist=False)
    snapshot = Snapshot(9, 2, Membership.of("abcd"), b"new")
    node.core.step(InstallSnapshot(2, "b", "a", snapshot))
    node.persist()
    assert [m.match for m in node.collect() if m.term == 2] == [9]
    assert (node.restored, node.core.log.commit, node.core.log.membership) == (snapshot, 9, Membership.of("abcd"))
    node.restart()
    assert node.core.log.last_index == 9


def test_a_leader_goes_on_while_its_disk_is_busy():
    """Thesis §10.2.1: heartbeats leave; what has to be durable first waits, until the one write has ended."""
    net = Net(3)
    core = net.elect("a")
    core.propose(b"x")
    net.nodes["a"].collect(persist=False)
    core.propose(b"y")
    for _ in range(3):
        core.tick()
    ready = core.ready()
    assert len(ready.messages) == 4
    assert not ready.persists
    assert not core.has_ready
    net.nodes["a"].persist()
    assert [entry.command for entry in core.ready().entries] == [b"y"]


def test_entries_that_are_replaced_while_they_are_written_are_written_again():
    """The write that ends late does not make the new entries durable."""
    node = alone()
    node.core.step(AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1, 1)))
    node.collect(persist=False)
    node.core.step(AppendEntriesRequest(2, "c", "a", 1, 1, (Entry(2, 2, b"new"),)))
    node.persist()
    assert node.core.log.stable == 1
    node.collect()
    assert [entry.term for entry in node.entries] == [1, 2]


# --- §8, thesis §6.4: reads ----------------------------------------------------------------------


def test_a_read_waits_for_a_majority_of_a_round():
    """Thesis §6.4: the leader makes sure that it leads, after the read came."""
    net = Net(3)
    core = net.elect("a")
    core.read_index(7)
    net.isolate("a")
    net.settle()
    assert net.nodes["a"].reads == []
    net.heal()
    net.tick(4)
    assert net.nodes["a"].reads == [(7, 1)]


def test_an_answer_to_an_earlier_round_confirms_nothing():
    """Thesis §6.4: only what was sent after the read came."""
    net = Net(3)
    core = net.elect("a")
    old = core._rounds.number
    core.read_index(7)
    net.nodes["a"].collect()
    core.step(AppendEntriesResponse(core.term, "b", "a", True, match=1, context=old))
    assert net.nodes["a"].collect() == []
    assert net.nodes["a"].reads == []
    core.step(AppendEntriesResponse(core.term, "b", "a", True, match=1, context=old + 1))
    net.nodes["a"].collect()
    assert net.nodes["a"].reads == [(7, 1)]


def test_a_read_waits_for_an_entry_of_the_term():
    """§8: until then the leader does not know what is committed."""
    net = Net(3, config=PLAIN)
    core = net["a"]
    while core.role is not Role.CANDIDATE:
        core.tick()
    net.nodes["a"].collect()
    core.step(VoteResponse(1, "b", "a", True))
    core.read_index(7)
    assert net.nodes["a"].collect() != []
    assert net.nodes["a"].reads == []
    core.step(AppendEntriesResponse(1, "b", "a", True, match=1))
    net.settle()
    assert net.nodes["a"].reads == [(7, 1)]


def test_reads_fail_with_leadership():
    """Thesis §6.4: waiting reads are answered with no; a follower refuses with the leader's name."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("a")
    core.read_index(1)
    net.settle()
    core.read_index(2)
    core.step(AppendEntriesRequest(core.term + 1, "b", "a", 0, 0))
    net.settle()
    assert net.nodes["a"].reads == [(1, None), (2, None)]
    with pytest.raises(NotLeader) as caught:
        core.read_index(3)
    assert caught.value.leader == "b"


def test_one_voter_reads_at_once():
    """It is its own majority."""
    node = Node("a", Membership.of("a"), CONFIG)
    while node.core.role is not Role.LEADER:
        node.core.tick()
        node.collect()
    node.core.read_index(1)
    node.collect()
    assert node.reads == [(1, 1)]


LEASE = replace(CONFIG, lease_reads=True)


def test_a_lease_answers_without_a_round():
    """Thesis §6.4.1: while a majority answered so lately that nobody else can be elected."""
    net = Net(3, config=LEASE)
    net.tick(12)
    core = net.elect("a")
    core.read_index(0)
    assert net.nodes["a"].collect() != []  # no round was answered yet: it needs one
    net.tick(7)
    net.nodes["a"].reads.clear()
    net.isolate("a")
    core.read_index(1)
    net.settle()
    assert net.nodes["a"].reads == [(1, core.log.commit)]
    net.tick(9, "a")
    core.read_index(2)
    net.settle()
    assert len(net.nodes["a"].reads) == 1


def test_a_transfer_ends_the_lease():
    """Thesis §6.4.1: the one who is asked to stand may be elected at once."""
    net = Net(3, config=LEASE)
    net.tick(12)
    core = net.elect("a")
    net.tick(4)
    net.isolate("a")
    core.transfer_leadership("b")
    net.settle()
    core.read_index(1)
    net.settle()
    assert net.nodes["a"].reads == []


def test_a_restarted_node_respects_leases_that_it_may_have_given():
    """Thesis §6.4.1: it refuses to vote until an election timeout has passed."""
    node = alone(config=LEASE)
    assert [m.granted for m in step(node, VoteRequest(1, "b", "a", 0, 0))] == [False]
    for _ in range(10):
        node.core.tick()
    assert [m.granted for m in step(node, VoteRequest(1, "b", "a", 0, 0))] == [True]


def test_leases_need_check_quorum():
    """Thesis §6.4.1: without it nobody respects the lease."""
    with pytest.raises(ConfigurationError, match="lease_reads needs check_quorum"):
        CoreConfig(lease_reads=True, check_quorum=False)


# --- thesis §9.6, §6.2: pre-vote and check-quorum -------------------------------------------------


def test_a_node_that_was_cut_off_does_not_raise_the_term():
    """Thesis §9.6: it asks in vain, and comes back as a follower of the same term."""
    net = Net(3)
    core = net.elect("a")
    term = core.term
    net.isolate("c")
    net.tick(100)
    assert net["c"].term == term
    net.heal()
    net.tick(5)
    assert (core.role, core.term, net["c"].leader) == (Role.LEADER, term, "a")


def test_without_pre_vote_it_does():
    """§5.2: the same node stands in term after term; the leader steps down when it hears of it."""
    net = Net(3, config=PLAIN)
    core = net.elect("a")
    term = core.term
    net.isolate("c")
    net.tick(100)
    assert net["c"].term > term
    net.heal()
    net.tick(60)
    assert net.leader().term > term


def test_an_old_pre_vote_is_not_counted():
    """Thesis §9.6: an answer about another term than the next says nothing."""
    node = alone(term=4)
    while node.core.role is not Role.PRE_CANDIDATE:
        node.core.tick()
    node.collect()
    assert step(node, VoteResponse(9, "b", "a", True, pre_vote=True)) == []
    assert (node.core.role, node.core.term) == (Role.PRE_CANDIDATE, 4)
    assert step(node, VoteResponse(4, "b", "a", False)) == []
    assert node.core.role is Role.PRE_CANDIDATE


def test_a_leader_without_a_majority_steps_down():
    """Thesis §6.2: within an election timeout or two; with check-quorum off it stays."""
    for config, role in ((CONFIG, Role.FOLLOWER), (PLAIN, Role.LEADER)):
        net = Net(3, config=config)
        core = net.elect("a")
        net.isolate("a")
        net.tick(25, "a")
        assert core.role is role


def test_voters_that_hear_the_leader_refuse_others():
    """§6, last part: within the shortest election timeout, whatever the term; not when the leader asked for it."""
    node = alone()
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0))
    [answer] = step(node, VoteRequest(5, "c", "a", 9, 4))
    assert (answer.granted, answer.term, node.core.term) == (False, 1, 1)
    [answer] = step(node, VoteRequest(5, "c", "a", 9, 4, transfer=True))
    assert (answer.granted, node.core.term) == (True, 5)
    step(node, AppendEntriesRequest(5, "c", "a", 0, 0))
    for _ in range(9):
        node.core.tick()
    assert [m.granted for m in step(node, VoteRequest(6, "b", "a", 9, 4))] == [False]
    node = alone(config=PLAIN)
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0))
    assert [m.granted for m in step(node, VoteRequest(5, "c", "a", 9, 4))] == [True]


# --- thesis §3.10: transfer ----------------------------------------------------------------------


def test_leadership_goes_to_the_one_who_is_named():
    """Thesis §3.10: it catches up first, and then wins at once, lease and pre-vote notwithstanding."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("b")
    core.propose(b"x")
    net.settle()
    net.heal()
    core.transfer_leadership("b")
    with pytest.raises(ProposalDropped, match="being transferred to b"):
        core.propose(b"y")
    net.tick(4)
    assert (net.leader().id, core.role, net["c"].leader) == ("b", Role.FOLLOWER, "b")


def test_a_transfer_that_fails_ends_and_the_leader_goes_on():
    """Thesis §3.10: after an election timeout."""
    net = Net(3)
    core = net.elect("a")
    net.isolate("b")
    core.propose(b"x")
    core.transfer_leadership("b")
    net.tick(11)
    assert (core.role, core.transferee) == (Role.LEADER, None)
    assert core.propose(b"y") == 3


def test_only_another_voter_can_take_over():
    """Thesis §3.10: and only a voter obeys the order to stand."""
    net = Net(3, learners=["l"])
    core = net.elect("a")
    for target in ("a", "l", "zz"):
        with pytest.raises(ProposalDropped, match="not another voter"):
            core.transfer_leadership(target)
    net["l"].step(TimeoutNow(core.term, "a", "l"))
    assert net["l"].role is Role.FOLLOWER
    with pytest.raises(NotLeader):
        net["b"].transfer_leadership("c")


# --- limits --------------------------------------------------------------------------------------


def test_proposals_are_refused_instead_of_queued():
    """Back-pressure: what is not committed is bounded, and free again when it is."""
    net = Net(3, config=replace(CONFIG, max_uncommitted=10, max_bytes=6))
    core = net.elect("a")
    net.isolate("a")
    core.propose(b"123456")
    for command, text in ((b"12345", "wait to be committed"), (b"1234567", "7 bytes"), (b"", "0 bytes")):
        with pytest.raises(ProposalDropped, match=text):
            core.propose(command)
    net.heal()
    net.tick(5)
    core.propose(b"12345")
    with pytest.raises(NotLeader, match="the leader is a"):
        net["b"].propose(b"x")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"heartbeat_ticks": 0}, "heartbeat_ticks is 0"),
        ({"max_entries": 0}, "max_entries is 0"),
        ({"election_spread": 0}, "election_spread is 0"),
        ({"election_ticks": 5, "heartbeat_ticks": 5}, "must be above heartbeat_ticks"),
    ],
)
def test_senseless_settings_are_refused(fields, text):
    """Before anything begins."""
    with pytest.raises(ConfigurationError, match=text):
        CoreConfig(**fields)


def test_a_broken_invariant_is_an_error_and_not_a_guess():
    """The log refuses what must never happen."""
    node = alone()
    step(node, AppendEntriesRequest(1, "b", "a", 0, 0, log(1, 1), leader_commit=2))
    with pytest.raises(InternalError, match="committed entry"):
        node.core.log._truncate(2)
    with pytest.raises(InternalError, match="the log ends at 2"):
        node.core.log.commit_to(3)
    with pytest.raises(InternalError, match="applied is 2"):
        node.core.compact(Snapshot(3, 1), keep=0)
    with pytest.raises(InternalError, match="without a gap"):
        RaftLog(Snapshot(3, 1), log(1, 1))
    RaftCore("a", RaftLog(Snapshot()), HardState(), random=Random(1))
