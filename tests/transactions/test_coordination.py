"""The coordinator's core by the rules of two-phase commit with presumed abort."""

import pytest

from orbit_net.errors import TransactionRefused
from orbit_net.model import AddressableReference, Int64Key, NodeId, StringKey
from orbit_net.transactions import (
    Abort,
    Acknowledge,
    Commit,
    CoordinatorCore,
    Phase,
    Prepare,
    StateKind,
    TransactionConfig,
    TransactionId,
    TransactionOperation,
    TransactionVote,
    Vote,
    VoteKind,
)
from orbit_net.transactions.records import Decided, Failed, Finished
from orbit_net.transactions.step import Outgoing, Step

HERE, THERE = NodeId("n1"), NodeId("n2")
CONFIG = TransactionConfig(timeout=10.0, idle_timeout=60.0, resend_initial=1.0, resend_max=4.0)
A, B, C = (AddressableReference("Account", StringKey(name)) for name in "abc")
YES = TransactionVote.yes()


def begun(*actors, core=None, now=0.0, commit=True, **options):
    """Return (core, id, step) of a transaction over some actors."""
    core = core or CoordinatorCore(HERE, CONFIG)
    identity = TransactionId.generate(HERE)
    core.begin(identity, now, **options)
    for number, actor in enumerate(actors):
        core.add_operation(identity, TransactionOperation(str(number), actor, "add", number))
    return core, identity, core.commit(identity, now) if commit else Step()


def vote(core, identity, actor, answer=YES, now=1.0, **options):
    return core.vote(Vote(identity, actor, answer), now, **options)


def acknowledge(core, identity, actor, success=True, error=None, now=2.0):
    return core.acknowledge(Acknowledge(identity, actor, success, error), now)


def decided(*actors):
    core, identity, _ = begun(*actors)
    for actor in actors:
        step = vote(core, identity, actor)
    return core, identity, step


def test_prepare_goes_to_all_at_once():
    """One message for all participants, each once however many operations it has, and nothing to persist."""
    core, identity, step = begun(A, B, A)
    [outgoing] = step.now
    assert outgoing.targets == (A, B)
    assert isinstance(outgoing.message, Prepare)
    assert [operation.target for operation in outgoing.message.operations] == [A, B, A]
    assert outgoing.message.timeout == 10.0
    assert step == Step(now=(outgoing,))
    assert core.status(identity).kind is StateKind.PREPARING


def test_the_last_yes_decides():
    """The decision is a record, and leaves after it; the owner hears it then too."""
    core, identity, _ = begun(A, B)
    assert vote(core, identity, A) == Step()
    step = vote(core, identity, B)
    assert step.records == (Decided(identity, (A, B)),)
    assert (step.now, step.after) == ((), (Outgoing(Commit(identity), (A, B)),))
    [news] = step.news
    assert (news.state.kind, news.final) == (StateKind.COMMITTING, False)


def test_the_same_yes_twice_is_one():
    """A duplicate does not stand for the vote that is missing."""
    core, identity, _ = begun(A, B)
    assert vote(core, identity, A) == vote(core, identity, A) == Step()
    assert core.look(identity).phase is Phase.PREPARING


def test_a_no_aborts_the_others():
    """Who said no has kept nothing; who said yes or nothing is told, with the reason, and nothing is persisted."""
    core, identity, _ = begun(A, B, C)
    vote(core, identity, A)
    step = vote(core, identity, B, TransactionVote.no("not enough money"))
    [outgoing] = step.now
    assert outgoing == Outgoing(Abort(identity, "Account/b votes NO: not enough money"), (A, C))
    assert (step.records, step.lazy) == ((), ())
    assert core.status(identity).kind is StateKind.ABORTING


def test_a_single_no_is_the_end():
    """With nobody to tell the transaction is over."""
    core, identity, _ = begun(A)
    step = vote(core, identity, A, TransactionVote.no("no"))
    assert (step.now, step.news[0].final) == ((), True)
    assert core.status(identity).kind is StateKind.ABORTED


def test_uncertain_is_no_vote():
    """The participant is asked again by and by."""
    core, identity, _ = begun(A)
    assert vote(core, identity, A, TransactionVote(VoteKind.UNCERTAIN, "busy")) == Step()
    [outgoing] = core.tick(1.0).now
    assert outgoing.targets == (A,)
    assert isinstance(outgoing.message, Prepare)


def test_who_says_yes_to_an_aborted_transaction_is_told():
    """A vote that was late, or a duplicate of one who said no: it may hold a lock, so it has to know."""
    core, identity, _ = begun(A, B)
    vote(core, identity, A, TransactionVote.no("no"))
    assert vote(core, identity, A).now == (Outgoing(core.look(identity).message(), (A,)),)
    acknowledge(core, identity, B)
    assert core.look(identity).phase is Phase.ABORTING
    acknowledge(core, identity, A)
    assert core.look(identity).phase is Phase.ABORTED


def test_acknowledged_by_all_it_is_forgotten():
    """The last acknowledgement lets the log forget, lazily: losing that costs one more round."""
    core, identity, _ = decided(A, B)
    assert acknowledge(core, identity, A) == Step()
    assert acknowledge(core, identity, A) == Step()
    step = acknowledge(core, identity, B)
    assert (step.records, step.lazy) == ((), (Finished(identity),))
    assert step.news[0].final
    assert not core.transactions
    assert core.status(identity).kind is StateKind.COMMITTED
    assert acknowledge(core, identity, B) == Step()


def test_messages_are_repeated_to_those_who_are_missing():
    """After 1, 2, 4, 4 seconds …; a decision only once it is durable."""
    core, identity, _ = decided(A, B)
    acknowledge(core, identity, A)
    times, now = [], 1.0
    for _ in range(4):
        now = core.due()
        step = core.tick(now)
        times.append(now)
        assert (step.now, step.after) == ((), (Outgoing(Commit(identity), (B,)),))
    assert times == [2.0, 4.0, 8.0, 12.0]
    assert core.tick(now) == Step()


def test_a_late_vote_aborts():
    """The time for the votes is up: TIMED_OUT, and it says who is missing."""
    core, identity, _ = begun(A, B)
    vote(core, identity, A)
    for now in (1.0, 3.0, 7.0):
        assert isinstance(core.tick(now).now[0].message, Prepare)
    step = core.tick(10.0)
    assert step.now == (Outgoing(Abort(identity, "no vote of Account/b within 10 s"), (A, B)),)
    assert step.news[0].state.kind is StateKind.TIMED_OUT
    assert core.status(identity).kind is StateKind.TIMED_OUT


def test_a_timeout_of_its_own():
    """A transaction may be given less time."""
    core, _, step = begun(A, timeout=0.5)
    assert step.now[0].message.timeout == 0.5
    assert core.due() == 0.5
    assert isinstance(core.tick(0.5).now[0].message, Abort)


def test_a_decided_transaction_has_no_timeout():
    """Nothing undoes a decision: not time, not its owner, not a no that comes late."""
    core, identity, _ = decided(A, B)
    assert isinstance(core.tick(1_000.0).after[0].message, Commit)
    with pytest.raises(TransactionRefused, match="is committing; it is too late"):
        core.abort(identity, "", 3.0)
    assert vote(core, identity, A, TransactionVote.no("no")) == Step()
    assert core.undelivered(identity, A, "down", 3.0) == Step()
    assert core.look(identity).phase is Phase.COMMITTING


def test_an_owner_that_never_commits():
    """A transaction that only collects operations is given up."""
    core, identity, _ = begun(A, commit=False)
    step = core.tick(core.due())
    assert (step.now, step.news[0].final) == ((), True)
    with pytest.raises(TransactionRefused, match="TIMED_OUT: it was not committed within 60 s"):
        core.commit(identity, 61.0)


def test_its_owner_aborts():
    """Before anybody was asked nobody needs to know; afterwards all do."""
    core, identity, _ = begun(A, commit=False)
    assert core.abort(identity, "changed my mind", 1.0).now == ()
    core, identity, _ = begun(A, B)
    [outgoing] = core.abort(identity, "changed my mind", 1.0).now
    assert outgoing == Outgoing(Abort(identity, "changed my mind"), (A, B))
    assert core.abort(identity, "again", 1.0) == Step()


def test_a_participant_that_cannot_be_reached():
    """Before the decision that is a veto, but it may have the Prepare all the same, so it is told."""
    core, identity, _ = begun(A, B)
    vote(core, identity, A)
    assert core.undelivered(identity, A, "late news", 1.0) == Step()
    [outgoing] = core.undelivered(identity, B, "UNAVAILABLE", 1.0).now
    assert outgoing == Outgoing(Abort(identity, "Account/b cannot be asked: UNAVAILABLE"), (A, B))


def test_a_transaction_that_is_not_known_is_aborted():
    """Presumed abort: no record, no commit. A yes is answered at the node that it came from, a no needs no answer."""
    core = CoordinatorCore(HERE, CONFIG)
    identity = TransactionId.generate(HERE)
    assert core.status(identity).kind is StateKind.ABORTED
    [outgoing] = vote(core, identity, A, sender=THERE).after
    assert (outgoing.targets, outgoing.node) == ((A,), THERE)
    assert isinstance(outgoing.message, Abort)
    assert vote(core, identity, A, TransactionVote.no("no")) == Step()
    assert acknowledge(core, identity, A) == Step()


def test_a_late_yes_to_what_is_committed_and_over():
    """A duplicate of a vote that had counted: nothing is to be said, least of all that it is aborted."""
    core, identity, _ = decided(A)
    acknowledge(core, identity, A)
    assert vote(core, identity, A) == Step()


def test_a_restart_goes_on_with_what_is_decided():
    """Each decision in the log is told again, to the actors by the names that the directory knows."""
    _, identity, step = decided(A, AddressableReference("Account", Int64Key(7)))
    again = CoordinatorCore(HERE, CONFIG)
    recovered = again.recover(step.records, 100.0)
    assert recovered.now == (Outgoing(Commit(identity), step.records[0].participants),)
    assert again.status(identity).kind is StateKind.COMMITTING
    acknowledge(again, identity, A)
    assert acknowledge(again, identity, AddressableReference("Account", StringKey("7"))).lazy == (Finished(identity),)


def test_a_restart_before_the_decision_has_aborted():
    """There is nothing in the log, so nobody knows the transaction any more."""
    _, identity, _ = begun(A)
    again = CoordinatorCore(HERE, CONFIG)
    assert again.recover((), 100.0) == Step()
    assert again.status(identity).kind is StateKind.ABORTED


def test_a_participant_that_never_will():
    """One that claims it cannot commit: the others do, and a person has to look at it; the log keeps it."""
    core, identity, _ = decided(A, B)
    acknowledge(core, identity, A, success=False, error="never heard of it")
    assert core.status(identity).kind is StateKind.COMMITTING
    step = acknowledge(core, identity, B)
    assert step.lazy == (Failed(identity, "Account/a: never heard of it"),)
    assert core.status(identity).kind is StateKind.FAILED
    again = CoordinatorCore(HERE, CONFIG)
    assert again.recover(step.lazy, 0.0) == Step()
    assert again.status(identity).kind is StateKind.FAILED


def test_orders_that_cannot_be():
    """Each is refused, and says why."""
    core, identity, _ = begun(A, commit=False)
    other = TransactionId.generate(THERE)
    with pytest.raises(TransactionRefused, match="known already"):
        core.begin(identity, 0.0)
    with pytest.raises(TransactionRefused, match="not default:n1"):
        core.begin(other, 0.0)
    with pytest.raises(TransactionRefused, match="coordinated by default:n2"):
        core.status(other)
    with pytest.raises(TransactionRefused, match="was not asked"):
        vote(core, identity, A)
    with pytest.raises(TransactionRefused, match="is there already"):
        core.add_operation(identity, TransactionOperation("0", B, "add"))
    with pytest.raises(TransactionRefused, match="is not known"):
        core.commit(TransactionId.generate(HERE), 0.0)
    core.commit(identity, 0.0)
    with pytest.raises(TransactionRefused, match="preparing"):
        core.commit(identity, 0.0)
    with pytest.raises(TransactionRefused, match="preparing already"):
        core.add_operation(identity, TransactionOperation("9", B, "add"))
    with pytest.raises(TransactionRefused, match="Account/b takes no part"):
        vote(core, identity, B)
    with pytest.raises(TransactionRefused, match="Account/b takes no part"):
        acknowledge(core, identity, B)
    empty = begun(commit=False, core=core)[1]
    with pytest.raises(TransactionRefused, match="no operations"):
        core.commit(empty, 0.0)


def test_two_names_of_one_text():
    """42 and "42" cannot be told apart in a transaction."""
    core, identity, _ = begun(AddressableReference("Account", Int64Key(42)), commit=False)
    with pytest.raises(TransactionRefused, match="the same in a transaction: both are '42'"):
        core.add_operation(identity, TransactionOperation("1", AddressableReference("Account", StringKey("42")), "add"))


def test_limits():
    """So many operations, so many transactions; what is only being aborted makes room."""
    core = CoordinatorCore(HERE, TransactionConfig(max_transactions=2, max_operations=1))
    _, first, _ = begun(A, core=core)
    begun(A, core=core)
    with pytest.raises(TransactionRefused, match="2 transactions are under way"):
        begun(A, core=core)
    core.abort(first, "", 1.0)
    _, third, _ = begun(A, core=core, commit=False)
    assert first not in core.transactions
    assert core.status(first).kind.aborts
    with pytest.raises(TransactionRefused, match="has 1 operations"):
        core.add_operation(third, TransactionOperation("1", A, "add"))


def test_timers_of_what_has_ended_are_cleared_away():
    """Many transactions in a short time leave no heap behind, and the timers that count stay."""
    core = CoordinatorCore(HERE, CONFIG)
    _, waiting, _ = begun(A, core=core, now=0.5)
    for _ in range(2_000):
        _, identity, _ = begun(A, core=core)
        vote(core, identity, A)
        acknowledge(core, identity, A)
    assert len(core._timers) < 300
    assert core.due() == 1.5
    assert core.tick(1.5).now[0].message.transaction_id == waiting


def test_what_ended_is_remembered_for_a_while():
    """The last thousand, and no more."""
    core = CoordinatorCore(HERE, CONFIG)
    ids = []
    for _ in range(1_001):
        _, identity, _ = begun(A, core=core, commit=False)
        core.abort(identity, "x", 0.0)
        ids.append(identity)
    assert core.look(ids[0]) is None
    assert core.look(ids[-1]).state.details == "x"
    assert len(core.ended) == 1_000


def test_it_says_what_it_is():
    """For a log or a debugger."""
    core, identity, _ = begun(A, B)
    assert repr(core) == "<CoordinatorCore default:n1, 1 transactions>"
    assert repr(core.look(identity)) == f"<Transaction {identity} preparing, 2 of 2 missing>"
