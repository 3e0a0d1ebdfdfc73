"""Whole nodes: coordinator, participants, service, sender and logs, over memory streams."""

import anyio
import pytest

from orbit_net.errors import (
    ConfigurationError,
    StorageError,
    TransactionAborted,
    TransactionInDoubt,
    TransactionRefused,
)
from orbit_net.model import AddressableReference, NodeId, StringKey
from orbit_net.server import current_call
from orbit_net.transactions import (
    MemoryLog,
    MemoryVoteLog,
    ParticipantConfig,
    QueryStatus,
    SqliteLog,
    SqliteVoteLog,
    StateKind,
    TransactionConfig,
    TransactionId,
    TransactionOperation,
    coordinator_of,
)
from orbit_net.transactions.records import Applied, Decided, Voted
from settle import until
from txnet import FAST, account, bank, transfer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["inline", "legacy"])
def legacy(request):
    """With peers that answer in the response, and with those that send votes as messages of their own."""
    return request.param == "legacy"


def kept(make_log=MemoryLog, make_votes=MemoryVoteLog):
    """Logs that outlive their nodes: the same objects at each start."""
    found = {}

    def logs(name):
        return found.setdefault(name, (make_log(), make_votes()))

    logs.of = found
    return logs


class Gate:
    """A log that waits, or fails, when a kind of record is written. Not blocking, so it may only raise."""

    def __init__(self, log, kind, *, after=False):
        self.log, self.kind, self.after = log, kind, after
        self.blocking = False
        self.broken = False

    def load(self):
        return self.log.load()

    def write(self, records):
        hit = any(isinstance(record, self.kind) for record in records)
        if hit and not self.after:
            raise StorageError("the disk is gone")
        self.log.write(records)
        if hit:
            raise StorageError("the disk is gone, after it had written")

    def close(self):
        self.log.close()


async def test_a_transfer_between_two_nodes(legacy):
    """Both accounts change, and the coordinator says COMMITTED."""
    async with bank("a", "b", "c", legacy=legacy) as cluster:
        state = await transfer(cluster.nodes["a"], account("b"), account("c"), 30)
        assert state.kind is StateKind.COMMITTED
        assert (cluster.balance("b"), cluster.balance("c")) == (70, 130)
        assert cluster.nodes["a"].coordinator.under_way == 0


async def test_several_accounts_of_one_node(legacy):
    """They take part each for itself."""
    async with bank("a", "b", legacy=legacy) as cluster:
        async with cluster.nodes["a"].coordinator.transaction() as transaction:
            await transaction.add_operation(account("b", 1), "debit", {"amount": 60})
            await transaction.add_operation(account("b", 2), "credit", {"amount": 50})
            await transaction.add_operation(account("a", 1), "credit", {"amount": 10})
        assert transaction.state.kind is StateKind.COMMITTED
        assert [cluster.balance("b", 1), cluster.balance("b", 2), cluster.balance("a", 1)] == [40, 150, 110]


async def test_a_no_undoes_all(legacy):
    """One account cannot pay: no account changes, the reason is told, and nothing stays locked."""
    async with bank("a", "b", legacy=legacy) as cluster:
        with pytest.raises(TransactionAborted, match="not enough money"):
            await transfer(cluster.nodes["a"], account("b"), account("a"), 130)
        assert (cluster.balance("a"), cluster.balance("b")) == (100, 100)
        await transfer(cluster.nodes["a"], account("b"), account("a"), 100)
        assert (cluster.balance("a"), cluster.balance("b")) == (200, 0)


async def test_an_exception_in_the_block_aborts():
    """Nobody is asked, and the exception goes on."""
    async with bank("a", "b") as cluster:
        coordinator = cluster.nodes["a"].coordinator
        with pytest.raises(ZeroDivisionError):
            async with coordinator.transaction() as transaction:
                await transaction.add_operation(account("b"), "debit", {"amount": 1})
                raise ZeroDivisionError
        assert (await coordinator.get_transaction_state(transaction.id)).kind is StateKind.ABORTED
        assert cluster.balance("b") == 100


async def test_step_by_step():
    """The same with ids and operations of one's own, and a compensation afterwards by a transaction of its own."""
    async with bank("a", "b") as cluster:
        coordinator = cluster.nodes["a"].coordinator
        identity = await coordinator.begin_transaction(timeout=2.0)
        undo = {"action": "credit", "amount": 40}
        operation = TransactionOperation("op-1", account("b"), "debit", {"amount": 40}, undo)
        await coordinator.add_operation(identity, operation)
        assert (await coordinator.commit_transaction(identity)).kind is StateKind.COMMITTED
        assert cluster.balance("b") == 60
        with pytest.raises(TransactionRefused, match="COMMITTED"):
            await coordinator.abort_transaction(identity)
        repair = await coordinator.begin_transaction()
        await coordinator.add_operation(repair, operation.compensating("op-2"))
        await coordinator.commit_transaction(repair)
        assert cluster.balance("b") == 100


async def test_many_at_once():
    """Transfers that meet each other: each ends, and the money is there."""
    async with bank("a", "b", "c") as cluster:
        done = {"yes": 0, "no": 0}

        async def customer(number):
            names = "abc"
            for turn in range(10):
                source = account(names[(number + turn) % 3], number % 4)
                target = account(names[(number + turn + 1) % 3], (number + 1) % 4)
                try:
                    await transfer(cluster.nodes[names[number % 3]], source, target, 1)
                except TransactionAborted:
                    done["no"] += 1
                else:
                    done["yes"] += 1

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(customer, number)
        assert sum(done.values()) == 80
        assert done["yes"] > 10
        assert sum(cluster.balance(name, number) for name in "abc" for number in range(4)) == 1_200


async def test_a_participant_that_is_down():
    """Before the decision its silence aborts; the others are free again."""
    async with bank("a", "b", "c", legacy=False) as cluster:
        await cluster.stop("c")
        with pytest.raises(TransactionAborted, match="Account-c/1 cannot be asked"):
            await transfer(cluster.nodes["a"], account("b"), account("c"), 10)
        await until(lambda: cluster.nodes["b"].participants.in_doubt == 0)
        assert cluster.balance("b") == 100


async def test_an_actor_that_is_nowhere():
    """Nobody hosts its type: aborted, and nobody else is left in doubt."""
    async with bank("a", "b") as cluster:
        with pytest.raises(TransactionAborted, match="no active node hosts"):
            await transfer(cluster.nodes["a"], account("b"), account("z"), 10)
        await until(lambda: cluster.nodes["b"].participants.in_doubt == 0)


async def test_a_coordinator_that_dies_before_its_decision():
    """Its log failed before the decision was written: the owner is in doubt, the participants ask the next: aborted."""
    logs = kept()
    logs.of["a"] = Gate(MemoryLog(), Decided), MemoryVoteLog()
    async with bank("a", "b", "c", logs=logs) as cluster:
        with pytest.raises(TransactionInDoubt, match="the disk is gone"):
            await transfer(cluster.nodes["a"], account("b"), account("c"), 10)
        coordinator = cluster.nodes["a"].coordinator
        assert not coordinator.serving
        with pytest.raises(TransactionInDoubt, match="has failed"):
            await coordinator.begin_transaction()
        # They ask, and a coordinator that does not know what its log holds must not answer.
        await until(lambda: cluster.nodes["b"].participants._core._timers[0][2].delay >= 0.16)
        assert cluster.nodes["b"].participants.in_doubt == cluster.nodes["c"].participants.in_doubt == 1
        await cluster.stop("a")
        logs.of["a"] = logs.of["a"][0].log, logs.of["a"][1]
        await cluster.start("a")
        await until(lambda: not cluster.nodes["b"].participants.in_doubt + cluster.nodes["c"].participants.in_doubt)
        assert (cluster.balance("b"), cluster.balance("c")) == (100, 100)


async def test_a_coordinator_that_dies_after_its_decision(legacy):
    """The decision was written and nobody heard of it: the next one carries it out."""
    logs = kept()
    logs.of["a"] = Gate(MemoryLog(), Decided, after=True), MemoryVoteLog()
    async with bank("a", "b", "c", logs=logs, legacy=legacy) as cluster:
        with pytest.raises(TransactionInDoubt):
            await transfer(cluster.nodes["a"], account("b"), account("c"), 10)
        await cluster.stop("a")
        logs.of["a"] = logs.of["a"][0].log, logs.of["a"][1]
        await cluster.start("a")
        await until(lambda: cluster.nodes["a"].coordinator.under_way == 0)
        await until(lambda: not cluster.nodes["b"].participants.in_doubt + cluster.nodes["c"].participants.in_doubt)
        assert (cluster.balance("b"), cluster.balance("c")) == (90, 110)


async def test_a_participant_that_dies_after_its_vote(legacy):
    """Its vote is written and never said. The transaction is aborted without it, and it learns so by asking."""
    logs = kept()
    logs.of["c"] = MemoryLog(), Gate(MemoryVoteLog(), Voted, after=True)
    options = {"config": TransactionConfig(timeout=0.3, resend_initial=0.02, resend_max=0.1)}
    async with bank("a", "b", "c", logs=logs, legacy=legacy, **options) as cluster:
        with pytest.raises(TransactionAborted):
            await transfer(cluster.nodes["a"], account("b"), account("c"), 10)
        await cluster.stop("c")
        logs.of["c"] = logs.of["c"][0], logs.of["c"][1].log
        assert len(logs.of["c"][1].load().votes) == 1
        node = await cluster.start("c")
        await until(lambda: node.participants.in_doubt == 0)
        assert (cluster.balance("b"), cluster.balance("c")) == (100, 100)
        await transfer(cluster.nodes["a"], account("b"), account("c"), 10)


async def test_a_participant_that_dies_before_its_commit_is_durable(legacy):
    """The decision waits for it: COMMITTING for the owner, and the restarted participant has it in the end."""
    logs = kept()
    logs.of["c"] = MemoryLog(), Gate(MemoryVoteLog(), Applied)
    options = {"config": TransactionConfig(completion_timeout=0.05, resend_initial=0.02, resend_max=0.1)}
    async with bank("a", "b", "c", logs=logs, legacy=legacy, **options) as cluster:
        state = await transfer(cluster.nodes["a"], account("b"), account("c"), 10)
        assert state.kind is StateKind.COMMITTING
        with pytest.raises(StorageError, match="have failed"):
            await cluster.nodes["c"].participants.find(account("c")).commit(TransactionId.generate(NodeId("a")))
        await cluster.stop("c")
        logs.of["c"] = logs.of["c"][0], logs.of["c"][1].log
        await cluster.start("c")
        await until(lambda: cluster.nodes["a"].coordinator.under_way == 0)
        assert (cluster.balance("b"), cluster.balance("c")) == (90, 110)


async def test_acknowledgements_that_are_lost():
    """The connections are cut amid a commit: it is told again until it is acknowledged, and applied once."""
    async with bank("a", "b", "c") as cluster:
        committed = 0
        async with anyio.create_task_group() as tasks:

            async def cut():
                while True:
                    await anyio.sleep(0.02)
                    await cluster.wires.cut()

            tasks.start_soon(cut)
            for _ in range(15):
                try:
                    await transfer(cluster.nodes["a"], account("b"), account("c"), 1)
                    committed += 1
                except TransactionAborted:
                    pass
            tasks.cancel_scope.cancel()
        await until(lambda: cluster.nodes["a"].coordinator.under_way == 0)
        assert (cluster.balance("b"), cluster.balance("c")) == (100 - committed, 100 + committed)


async def test_logs_on_disk(tmp_path):
    """Everything is there after all nodes were stopped and started again."""

    def logs(name):
        return SqliteLog(tmp_path / name / "decisions.db"), SqliteVoteLog(tmp_path / name / "votes.db")

    async with bank("a", "b", logs=logs) as cluster:
        for _ in range(3):
            await transfer(cluster.nodes["a"], account("a"), account("b"), 10)
        for name in "ab":
            await cluster.stop(name)
        for name in "ab":
            await cluster.start(name)
        assert (cluster.balance("a"), cluster.balance("b")) == (70, 130)
        await transfer(cluster.nodes["b"], account("b"), account("a"), 30)
        assert (cluster.balance("a"), cluster.balance("b")) == (100, 100)


async def test_a_cancelled_commit_aborts_what_is_not_decided():
    """Its owner is gone, so it is given up, and the participants are free again."""
    async with bank("a", "b", "c") as cluster:
        await cluster.stop("c")
        coordinator = cluster.nodes["a"].coordinator
        identity = await coordinator.begin_transaction()
        for name in "bc":
            await coordinator.add_operation(
                identity, TransactionOperation(name, account(name), "credit", {"amount": 1})
            )
        with anyio.move_on_after(0.001):
            await coordinator.commit_transaction(identity)
        await until(lambda: cluster.nodes["b"].participants.in_doubt == 0)
        assert (await coordinator.get_transaction_state(identity)).kind.aborts
        assert cluster.balance("b") == 100


async def test_the_deadline_of_a_handler_does_not_end_a_decision():
    """A transaction in a handler goes on to its end when the handler's time is up."""
    async with bank("a", "b") as cluster:
        node = cluster.nodes["a"]
        # As in a handler: what the coordinator starts must not inherit the deadline.
        from orbit_net.context import inherited_deadline

        inherited_deadline.set(anyio.current_time() - 1)
        assert (await transfer(node, account("b"), account("a"), 1)).kind is StateKind.COMMITTED
    with pytest.raises(Exception, match="call"):
        current_call()


async def test_the_state_of_a_transaction_over_the_wire():
    """QueryStatus to the coordinator's node, whatever the actor; one of another node is refused."""
    async with bank("a", "b") as cluster:
        node = cluster.nodes["a"]
        identity = await node.coordinator.begin_transaction()
        sender = cluster.nodes["b"].sender
        for target in (coordinator_of(node.node_id), AddressableReference("Whoever", StringKey("1"))):
            answer = await sender.send_message(target, QueryStatus(identity), node=node.node_id)
            assert answer.state.kind is StateKind.PREPARING
        other = await cluster.nodes["b"].coordinator.begin_transaction()
        with pytest.raises(TransactionRefused, match="coordinated by default:b"):
            await sender.send_message(coordinator_of(node.node_id), QueryStatus(other), node=node.node_id)


async def test_times_do_not_go_back(monkeypatch):
    """Participants compare the times of a coordinator's ids, so they never fall, whatever its clock does."""
    async with bank("a") as cluster:
        coordinator = cluster.nodes["a"].coordinator
        clock = iter([2_000.0, 1_000.0, 2_001.0])
        monkeypatch.setattr("time.time", lambda: next(clock))
        times = [(await coordinator.begin_transaction()).created_at for _ in range(3)]
        assert times == [2_000_000, 2_000_000, 2_001_000]


async def test_a_coordinator_that_the_directory_does_not_know(caplog):
    """Participants in doubt wait for it, and say so: it will not come back by itself."""
    async with bank("a") as cluster:
        stranger = TransactionId.generate(NodeId("z"))
        one = cluster.nodes["a"].participants.find(account("a"))
        await one.prepare(stranger, [TransactionOperation("1", account("a"), "credit", {"amount": 1})], 1.0)
        await until(lambda: cluster.nodes["a"].participants._core._timers[0][2].delay >= 0.16)
        assert [record.levelname for record in caplog.records if "NodeNotFound" in record.message] == ["WARNING"]
        assert cluster.nodes["a"].participants.in_doubt == 1


async def test_misuse_is_told():
    """Things are entered once, used while open, and types registered once."""
    async with bank("a") as cluster:
        node = cluster.nodes["a"]
        for part in (node, node.coordinator, node.participants):
            with pytest.raises(ConfigurationError, match="once"):
                async with part:
                    pass
        with pytest.raises(ConfigurationError, match="registered already"):
            node.register("Account-a", None)
    with pytest.raises(ConfigurationError, match="not open"):
        await node.coordinator.begin_transaction()
    with pytest.raises(ConfigurationError, match="not open"):
        await node.participants.find(account("a")).abort(None, "")
    with pytest.raises(TransactionRefused, match="no actor of the type 'X'"):
        node.state(AddressableReference("X", StringKey("1")))
    with pytest.raises(ConfigurationError, match="max_transactions"):
        TransactionConfig(max_transactions=0)
    with pytest.raises(ConfigurationError, match="resend_initial"):
        TransactionConfig(resend_initial=60)
    with pytest.raises(ConfigurationError, match="above 0 seconds"):
        TransactionConfig(timeout=0)
    with pytest.raises(ConfigurationError, match="ask_initial"):
        ParticipantConfig(ask_initial=60)


async def test_they_say_what_they_are():
    """For a log or a debugger."""
    async with bank("a", "b") as cluster:
        node = cluster.nodes["a"]
        await transfer(node, account("a"), account("b"), 1)
        async with node.coordinator.transaction() as transaction:
            assert repr(transaction) == f"<OpenTransaction {transaction.id}>"
            await transaction.add_operation(account("a"), "credit", {"amount": 0})
            assert repr(node.coordinator) == "<TransactionCoordinator default:a serving, 1 transactions>"
        assert repr(node.participants) == "<DurableParticipants of default:a serving: Account-a; 0 in doubt>"
        assert repr(node.participants.find(account("a"))) == "<DurableParticipant Account-a/1 of default:a>"
        assert repr(node) == f"<TransactionNode default:a: {node.coordinator!r}, {node.participants!r}>"
        assert repr(node.service) == f"<TransactionService of default:a, {node.participants!r}>"
        assert repr(node.sender).startswith("<GrpcTransactionMessageSender of default:a over <ConnectionPool [")
    assert repr(node.coordinator) == "<TransactionCoordinator default:a closed, 0 transactions>"
    assert FAST.max_transactions == 1_000
