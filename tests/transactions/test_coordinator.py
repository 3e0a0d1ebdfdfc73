"""TransactionCoordinator with a sender that plays a script, and with logs that fail."""

import threading
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from orbit_net.errors import StorageError, TransactionAborted, TransactionError, TransactionInDoubt, TransactionRefused
from orbit_net.model import AddressableReference, NodeId, StringKey
from orbit_net.transactions import (
    Acknowledge,
    BroadcastResult,
    Commit,
    Delivery,
    MemoryLog,
    Prepare,
    SqliteLog,
    StateKind,
    TransactionConfig,
    TransactionCoordinator,
    TransactionId,
    TransactionOperation,
    TransactionVote,
    Vote,
    VoteKind,
)
from settle import until
from txnet import FAST

pytestmark = pytest.mark.anyio

HERE = NodeId("n1")
A, B = (AddressableReference("Account", StringKey(name)) for name in "ab")


class Actors:
    """A sender and all its targets: ``say(target, message)`` gives the reply, or raises."""

    def __init__(self, say=None):
        self.sent = []
        self.say = say or self.obey

    def obey(self, target, message):
        """Vote yes, and acknowledge."""
        if isinstance(message, Prepare):
            return Vote(message.transaction_id, target, TransactionVote.yes())
        return Acknowledge(message.transaction_id, target)

    async def broadcast_message(self, targets, message, *, node=None, timeout=None):
        self.sent.append((type(message).__name__, tuple(targets), timeout))
        await anyio.lowlevel.checkpoint()
        return BroadcastResult({target: Delivery(None, self.say(target, message)) for target in targets})


@asynccontextmanager
async def coordinating(actors, log=None):
    with anyio.fail_after(15):
        async with TransactionCoordinator(HERE, actors, log=log, config=FAST) as coordinator:
            yield coordinator


async def begun(coordinator, *targets):
    identity = await coordinator.begin_transaction()
    for number, target in enumerate(targets):
        await coordinator.add_operation(identity, TransactionOperation(str(number), target, "x"))
    return identity


async def test_two_rounds():
    """One message to all for the votes, within the time for them, and one for the decision."""
    actors = Actors()
    async with coordinating(actors) as coordinator:
        identity = await begun(coordinator, A, B)
        assert (await coordinator.commit_transaction(identity)).kind is StateKind.COMMITTED
        assert actors.sent == [("Prepare", (A, B), FAST.timeout), ("Commit", (A, B), FAST.resend_max)]
        report = coordinator.report(identity)
        assert (report.state.kind, report.participants) == (StateKind.COMMITTED, (A, B))
        assert report.updated_at >= identity.created_at


async def test_who_is_uncertain_is_asked_again():
    """Until it says yes."""
    answers = iter([VoteKind.UNCERTAIN, VoteKind.UNCERTAIN, VoteKind.YES])

    def say(target, message):
        if isinstance(message, Prepare):
            return Vote(message.transaction_id, target, TransactionVote(next(answers)))
        return Acknowledge(message.transaction_id, target)

    actors = Actors(say)
    async with coordinating(actors) as coordinator:
        await coordinator.commit_transaction(await begun(coordinator, A))
        assert [kind for kind, *_ in actors.sent] == ["Prepare"] * 3 + ["Commit"]


async def test_a_participant_that_claims_it_cannot():
    """FAILED, as an error that names it; the log keeps it."""

    def say(target, message):
        if isinstance(message, Commit):
            return Acknowledge(message.transaction_id, target, success=target == A, error="lost its disk")
        return Actors().obey(target, message)

    log = MemoryLog()
    async with coordinating(Actors(say), log) as coordinator:
        identity = await begun(coordinator, A, B)
        with pytest.raises(TransactionError, match="FAILED: Account/b: lost its disk"):
            await coordinator.commit_transaction(identity)
        assert (await coordinator.get_transaction_state(identity)).kind is StateKind.FAILED
    async with coordinating(Actors(), log) as coordinator:
        assert (await coordinator.get_transaction_state(identity)).kind is StateKind.FAILED
    assert repr(log) == "<MemoryLog, 1 decisions>"


async def test_a_sender_that_breaks(caplog):
    """Whatever it raises, the participants were not reached, and the coordinator goes on."""

    def say(target, message):
        raise RuntimeError("a bug of somebody's own")

    actors = Actors(say)
    async with coordinating(actors) as coordinator:
        with pytest.raises(TransactionAborted, match="cannot be asked: RuntimeError"):
            await coordinator.commit_transaction(await begun(coordinator, A))
        actors.say = actors.obey
        await coordinator.commit_transaction(await begun(coordinator, A))
    assert "a bug of somebody's own" in caplog.text


async def test_an_answer_that_cannot_be(caplog):
    """A vote of one who was not asked is noted, and counts for nothing."""

    def say(target, message):
        if isinstance(message, Prepare) and len(actors.sent) == 1:
            return Vote(message.transaction_id, B, TransactionVote.yes())
        return actors.obey(target, message)

    actors = Actors(say)
    async with coordinating(actors) as coordinator:
        await coordinator.commit_transaction(await begun(coordinator, A))
        assert [kind for kind, *_ in actors.sent] == ["Prepare", "Prepare", "Commit"]
    assert "Account/b takes no part" in caplog.text


async def test_votes_by_messages_of_their_own():
    """As from nodes of Orbit-RS: events that wake the owner; what cannot be is refused."""
    actors = Actors(lambda target, message: None)
    async with coordinating(actors) as coordinator, anyio.create_task_group() as tasks:
        identity = await begun(coordinator, A)
        ends = []

        async def commit():
            ends.append(await coordinator.commit_transaction(identity))

        tasks.start_soon(commit)
        await until(lambda: actors.sent)
        with pytest.raises(TransactionRefused, match="takes no part"):
            await coordinator.receive(Vote(identity, B, TransactionVote.yes()), NodeId("n2"))
        await coordinator.receive(Vote(identity, A, TransactionVote.yes()), NodeId("n2"))
        await until(lambda: actors.sent[-1][0] == "Commit")
        await coordinator.receive(Acknowledge(identity, A), NodeId("n2"))
        await until(lambda: ends)
        assert ends[0].kind is StateKind.COMMITTED


async def test_an_owner_whose_transaction_is_aborted_by_another_task():
    """It hears the reason."""
    actors = Actors(lambda target, message: None)
    async with coordinating(actors) as coordinator, anyio.create_task_group() as tasks:
        identity = await begun(coordinator, A)
        heard = []

        async def commit():
            try:
                await coordinator.commit_transaction(identity)
            except TransactionAborted as error:
                heard.append(str(error))

        tasks.start_soon(commit)
        await until(lambda: actors.sent)
        await coordinator.abort_transaction(identity, "the operator wants it so")
        await until(lambda: heard)
        assert heard == ["the operator wants it so"]


async def test_a_coordinator_that_stops_while_owners_wait():
    """They are in doubt, for only its log will tell."""
    actors = Actors(lambda target, message: None)
    heard = []
    async with anyio.create_task_group() as tasks:
        async with coordinating(actors) as coordinator:
            identity = await begun(coordinator, A)

            async def commit():
                try:
                    await coordinator.commit_transaction(identity)
                except TransactionInDoubt as error:
                    heard.append(str(error))

            tasks.start_soon(commit)
            await until(lambda: actors.sent)
    assert heard == ["the coordinator default:n1 has stopped"]


class Slow(MemoryLog):
    """Writes when it is let go, or fails."""

    blocking = True

    def __init__(self):
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.waiting = 0
        self.failure = None

    def write(self, records):
        self.waiting += 1
        self.gate.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure
        super().write(records)


@pytest.mark.parametrize("fails", [False, True])
async def test_nobody_hears_of_a_decision_that_is_not_durable(fails):
    """Neither the participants, nor its owner, nor who asks."""
    actors, log, heard = Actors(), Slow(), []
    async with coordinating(actors, log) as coordinator, anyio.create_task_group() as tasks:
        identity = await begun(coordinator, A)

        async def tell(action):
            try:
                heard.append((await action(identity)).kind)
            except TransactionInDoubt as error:
                heard.append(str(error))

        tasks.start_soon(tell, coordinator.commit_transaction)
        await until(lambda: log.waiting)
        tasks.start_soon(tell, coordinator.get_transaction_state)
        await anyio.sleep(3 * FAST.resend_initial)  # the time in which a decision would be repeated
        assert (heard, [kind for kind, *_ in actors.sent]) == ([], ["Prepare"])
        log.failure = StorageError("the disk is gone") if fails else None
        log.gate.release(9)
        await until(lambda: len(heard) == 2)
        if fails:
            assert all("the disk is gone" in str(text) for text in heard)
            assert [kind for kind, *_ in actors.sent] == ["Prepare"]
            assert coordinator.failure is not None
            assert repr(coordinator) == "<TransactionCoordinator default:n1 failed, 1 transactions>"
        else:
            assert set(heard) <= {StateKind.COMMITTING, StateKind.COMMITTED}


async def test_a_disk_that_hangs():
    """Its owner is told that nobody knows, instead of waiting for ever; when the disk is back it is committed."""
    actors, log = Actors(), Slow()
    config = TransactionConfig(timeout=0.1, completion_timeout=0.05, resend_initial=0.02, resend_max=0.1)
    with anyio.fail_after(15):
        async with TransactionCoordinator(HERE, actors, log=log, config=config) as coordinator:
            identity = await begun(coordinator, A)
            with pytest.raises(TransactionInDoubt, match=r"the end of .* is not known"):
                await coordinator.commit_transaction(identity)
            assert [kind for kind, *_ in actors.sent] == ["Prepare"]
            log.gate.release(9)
            await until(lambda: coordinator.under_way == 0)
            assert (await coordinator.get_transaction_state(identity)).kind is StateKind.COMMITTED


async def test_a_log_that_cannot_be_read(tmp_path):
    """Entering fails with it, and nothing is left open."""
    (tmp_path / "log.db").write_bytes(b"x" * 5_000)
    with pytest.raises(StorageError, match=r"log\.db"):
        async with TransactionCoordinator(HERE, Actors(), log=SqliteLog(tmp_path / "log.db")):
            raise AssertionError("entered")


async def test_decisions_of_others_are_not_told():
    """The coordinator of a transaction is in its id."""
    async with coordinating(Actors()) as coordinator:
        with pytest.raises(TransactionRefused, match="coordinated by default:n2"):
            await coordinator.get_transaction_state(TransactionId.generate(NodeId("n2")))
        assert coordinator.report(TransactionId.generate(HERE)) is None
