"""The participants' core: votes, decisions, duplicates, impossible orders, doubt, and what is remembered."""

import re

import pytest

from orbit_net.errors import TransactionRefused
from orbit_net.model import AddressableReference, Int64Key, NodeId, StringKey
from orbit_net.transactions import (
    Acknowledge,
    ParticipantConfig,
    ParticipantCore,
    QueryStatus,
    Standing,
    StateKind,
    Stored,
    TransactionId,
    TransactionOperation,
    TransactionState,
    Vote,
    VoteKind,
)
from orbit_net.transactions.records import Applied, Pruned, Undone, Voted
from orbit_net.transactions.step import Outgoing, Step

HERE, COORDINATOR = NodeId("n1"), NodeId("n9")
CONFIG = ParticipantConfig(ask_initial=1.0, ask_max=4.0, remembered=4)
A, B = (AddressableReference("Account", StringKey(name)) for name in "ab")


class Account:
    """Begins with 100, and changes its state in place, which must harm nobody."""

    def initial(self, actor):
        return {"balance": 100}

    def apply(self, state, operation):
        if operation.operation_type == "crash":
            raise KeyError("amount")
        if operation.operation_type == "odd":
            return {1, 2}
        state["balance"] += operation.data
        if state["balance"] < 0:
            raise TransactionRefused("not enough money")
        return state


def made(**options):
    return ParticipantCore(HERE, CONFIG, {"Account": Account()}, **options)


def id_at(created_at=1, coordinator=COORDINATOR):
    return TransactionId.generate(coordinator, now_ms=created_at)


def prepare(core, identity, amount=10, actor=A, kind="add", now=0.0):
    return core.prepare(actor, identity, [TransactionOperation("1", actor, kind, amount)], now)


def said(step):
    """Return the one message of a step, which goes to the coordinator."""
    [outgoing] = step.now + step.after
    assert outgoing.node == COORDINATOR
    return outgoing.message


def test_a_yes_is_durable_before_it_is_said():
    """The record holds the state that a commit will give; what is read is still the old one."""
    core, identity = made(), id_at()
    step = prepare(core, identity)
    assert step.records == (Voted(A, identity, '{"balance":110}'),)
    assert step.now == ()
    assert said(step) == Vote(identity, A, said(step).vote)
    assert said(step).vote.kind is VoteKind.YES
    assert core.state(A) == {"balance": 100}
    assert core.status(A, identity).kind is StateKind.PREPARED


def test_a_commit_applies_once():
    """The state changes with the record, and a duplicate is acknowledged and changes nothing."""
    core, identity = made(), id_at()
    prepare(core, identity)
    step = core.commit(A, identity, 1.0)
    assert (step.records, step.now) == ((Applied(A, identity),), ())
    assert said(step) == Acknowledge(identity, A)
    assert core.state(A) == {"balance": 110}
    again = core.commit(A, identity, 2.0)
    assert (again.records, said(again)) == ((), Acknowledge(identity, A))
    assert core.state(A) == {"balance": 110}
    assert core.status(A, identity).kind is StateKind.COMMITTED


def test_an_abort_drops():
    """The lock is free at once; the record may wait, for its loss costs a question."""
    core, identity = made(), id_at()
    prepare(core, identity)
    step = core.abort(A, identity, "so", 1.0)
    assert (step.records, step.lazy) == ((), (Undone(A, identity),))
    assert said(step) == Acknowledge(identity, A)
    assert core.state(A) == {"balance": 100}
    assert core.status(A, identity) == TransactionState(StateKind.ABORTED)
    assert said(prepare(core, id_at())).vote.kind is VoteKind.YES
    assert said(core.abort(A, identity, "so", 1.0)) == Acknowledge(identity, A)


def test_what_cannot_be_done_is_a_no():
    """A refusal, a failure, a state that is no JSON, an unknown type, nothing to do: a no, and nothing is kept."""
    core = made()
    cases = {
        "not enough money": ([TransactionOperation("1", A, "add", -101)], A),
        "failed: KeyError": ([TransactionOperation("1", A, "crash")], A),
        "must be a JSON value": ([TransactionOperation("1", A, "odd")], A),
        "there is no operation for Account/a": ([], A),
        "no actor of the type 'Ship'": (
            [TransactionOperation("1", A, "x")],
            AddressableReference("Ship", StringKey("1")),
        ),
    }
    for reason, (operations, actor) in cases.items():
        identity = id_at()
        step = core.prepare(actor, identity, operations, 0.0)
        assert step.records == ()
        assert said(step).vote.kind is VoteKind.NO
        assert reason in said(step).vote.reason
        assert said(core.prepare(actor, identity, operations, 0.0)).vote == said(step).vote
    assert core.in_doubt == 0
    assert core.state(A) == {"balance": 100}


def test_several_operations_of_one_actor():
    """They are applied in their order, all or none."""
    core, identity = made(), id_at()
    operations = [TransactionOperation(str(n), A, "add", amount) for n, amount in enumerate((-100, 50, -50))]
    assert said(core.prepare(A, identity, operations, 0.0)).vote.kind is VoteKind.YES
    core.commit(A, identity, 0.0)
    assert core.state(A) == {"balance": 0}


def test_an_actor_is_locked_until_the_end():
    """Another transaction gets a no at once, so that nobody waits in a circle."""
    core, identity = made(), id_at()
    prepare(core, identity)
    vote = said(prepare(core, id_at())).vote
    assert vote.kind is VoteKind.NO
    assert vote.reason == f"Account/a is locked by {identity}"
    assert said(prepare(core, id_at(), actor=B)).vote.kind is VoteKind.YES


def test_duplicates_of_a_prepare():
    """The same yes before and after the commit, without a new record; no after an abort, whichever came first."""
    core, identity = made(), id_at()
    first = prepare(core, identity)
    again = prepare(core, identity, amount=99)
    assert (again.records, again.now, again.after) == ((), (), first.after)
    core.commit(A, identity, 0.0)
    late = prepare(core, identity)
    assert (late.records, late.after) == ((), first.after)
    assert core.state(A) == {"balance": 110}
    other = id_at()
    core.abort(A, other, "gone", 0.0)
    vote = said(prepare(core, other)).vote
    assert (vote.kind, vote.reason) == (VoteKind.NO, "gone")
    assert core.in_doubt == 0


def test_orders_that_cannot_be():
    """A commit of what was never prepared or was aborted, an abort of what is committed: each refused with a reason."""
    core = made()
    never, aborted, committed = id_at(), id_at(), id_at()
    core.abort(A, aborted, "x", 0.0)
    prepare(core, committed)
    core.commit(A, committed, 0.0)
    for step, reason in (
        (core.commit(A, never, 0.0), "cannot commit .*: to it that is unknown"),
        (core.commit(A, aborted, 0.0), "cannot commit .*: to it that is aborted"),
        (core.abort(A, committed, "", 0.0), "cannot abort .*: to it that is committed"),
    ):
        assert step.records == step.lazy == ()
        assert not said(step).success
        assert re.search(reason, said(step).error)
    assert core.state(A) == {"balance": 110}


def test_who_hears_nothing_asks():
    """After 1, 2, 4, 4 seconds …, once for all actors of the node, and never guesses."""
    core, identity = made(), id_at()
    prepare(core, identity)
    prepare(core, identity, actor=B)
    times = []
    for _ in range(4):
        times.append(core.due())
        assert core.tick(core.due()) == Step(now=(Outgoing(QueryStatus(identity), node=COORDINATOR),))
    assert times == [1.0, 2.0, 4.0, 8.0]
    for kind in (StateKind.PREPARING, StateKind.PREPARED, StateKind.FAILED):
        assert core.told(identity, TransactionState(kind), 9.0) == Step()
    assert core.in_doubt == 1


@pytest.mark.parametrize("kind", [StateKind.COMMITTING, StateKind.COMMITTED])
def test_the_answer_is_commit(kind):
    """All actors apply it and acknowledge when that is durable."""
    core, identity = made(), id_at()
    prepare(core, identity)
    prepare(core, identity, actor=B)
    step = core.told(identity, TransactionState(kind), 1.0)
    assert step.records == (Applied(A, identity), Applied(B, identity))
    assert [outgoing.message.participant for outgoing in step.after] == [A, B]
    assert core.due() is None
    assert core.told(identity, TransactionState(kind), 1.0) == Step()


@pytest.mark.parametrize("kind", [StateKind.ABORTING, StateKind.ABORTED, StateKind.TIMED_OUT])
def test_the_answer_is_abort(kind):
    """All actors drop it."""
    core, identity = made(), id_at()
    prepare(core, identity)
    step = core.told(identity, TransactionState(kind, "why"), 1.0)
    assert step.lazy == (Undone(A, identity),)
    assert said(prepare(core, identity)).vote.reason == "why"
    assert core.in_doubt == 0


def test_a_restart_is_in_doubt_and_asks_at_once():
    """The lock and the state are there again, and the answer ends it."""
    core, identity = made(), id_at()
    step = prepare(core, identity)
    again = made()
    recovered = again.recover(Stored({A: '{"balance":100}'}, step.records), 50.0)
    assert recovered == Step(now=(Outgoing(QueryStatus(identity), node=COORDINATOR),))
    assert said(prepare(again, id_at())).vote.kind is VoteKind.NO
    again.told(identity, TransactionState(StateKind.COMMITTED), 51.0)
    assert again.state(A) == {"balance": 110}


def test_a_late_prepare_of_an_aborted_transaction_does_not_lock_for_ever():
    """A restart has forgotten the abort: the yes is in doubt, asks, and hears that it is aborted."""
    identity = id_at()
    core = made()
    core.recover(Stored(), 0.0)
    prepare(core, identity)
    assert core.tick(core.due()).now[0].message == QueryStatus(identity)
    core.told(identity, TransactionState(StateKind.ABORTED), 2.0)
    assert core.standing(A, identity) is Standing.ABORTED


def test_only_the_newest_are_remembered_and_nothing_older_is_new():
    """A duplicate of what was forgotten is refused, its commit acknowledged; other coordinators are not concerned."""
    core, ids, pruned = made(), [id_at(created_at) for created_at in range(10, 20)], []
    for identity in ids:
        prepare(core, identity, 1)
        pruned += core.commit(A, identity, 0.0).lazy
    assert [type(record) for record in pruned] == [Pruned] * len(pruned)
    horizon = pruned[-1].created_at
    assert core.standing(A, ids[0]) is Standing.PAST
    assert core.standing(A, ids[-1]) is Standing.COMMITTED
    vote = said(prepare(core, ids[0])).vote
    assert (vote.kind, vote.reason) == (VoteKind.NO, "it is older than what is remembered here")
    assert said(core.commit(A, ids[0], 0.0)).success
    assert said(core.abort(A, ids[0], "", 0.0)).success
    assert core.status(A, ids[0]) is None
    assert core.state(A) == {"balance": 110}
    other = core.prepare(A, id_at(horizon, NodeId("n8")), [TransactionOperation("1", A, "add", 1)], 0.0)
    assert other.after[0].message.vote.kind is VoteKind.YES


def test_what_is_forgotten_survives_a_restart():
    """The horizon is in the log."""
    core = made()
    core.recover(Stored(horizons={COORDINATOR: 100}), 0.0)
    assert said(prepare(core, id_at(100))).vote.kind is VoteKind.NO
    assert said(prepare(core, id_at(101))).vote.kind is VoteKind.YES


def test_a_vote_older_than_the_horizon_can_still_be_committed():
    """It is in doubt, not forgotten."""
    core, old = made(), id_at(1)
    prepare(core, old, actor=B)
    for created_at in range(10, 20):
        identity = id_at(created_at)
        prepare(core, identity, 1)
        core.commit(A, identity, 0.0)
    assert core.standing(B, old) is Standing.PREPARED
    assert core.commit(B, old, 0.0).records == (Applied(B, old),)
    assert said(core.commit(B, old, 0.0)).success


def test_aborted_transactions_are_forgotten_by_and_by():
    """Ten thousand are remembered; a Prepare that is later still ends in a question."""
    core, first = made(), id_at()
    core.abort(A, first, "x", 0.0)
    for _ in range(10_000):
        core.abort(A, id_at(), "x", 0.0)
    assert core.standing(A, first) is Standing.UNKNOWN
    assert said(prepare(core, first)).vote.kind is VoteKind.YES


def test_names_are_text():
    """A number and its text are one actor."""
    core, identity = made(), id_at()
    number, words = AddressableReference("Account", Int64Key(1)), AddressableReference("Account", StringKey("1"))
    prepare(core, identity, actor=number)
    core.commit(words, identity, 0.0)
    assert core.state(number) == core.state(words) == {"balance": 110}
    assert core.actors_of(identity) == [words]
    assert core.actors_of(id_at()) == []


def test_states_are_copies():
    """What a reader does with a state changes nothing."""
    core = made()
    prepare(core, identity := id_at())
    core.commit(A, identity, 0.0)
    core.state(A)["balance"] = 0
    assert core.state(A) == {"balance": 110}


def test_it_says_what_it_is():
    """For a log or a debugger."""
    core = made()
    prepare(core, id_at())
    assert repr(core) == "<ParticipantCore default:n1, 0 actors, 1 in doubt>"
