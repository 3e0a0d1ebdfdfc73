"""Each public coroutine of transactions is cancelled at every checkpoint, and everything works on."""

from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from checkpoints import Knife, at_every_checkpoint
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import TransactionRefused
from orbit_net.model import NodeId
from orbit_net.transactions import (
    Abort,
    DurableParticipants,
    GrpcTransactionMessageSender,
    Prepare,
    QueryStatus,
    SqliteLog,
    SqliteVoteLog,
    StateKind,
    TransactionCoordinator,
    TransactionId,
    TransactionNode,
    TransactionOperation,
    TransactionVote,
    Vote,
    coordinator_of,
)
from settle import until
from txnet import CURIOUS, FAST, BankAccount, account, bank, transfer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.once]

B1 = account("b")


class Beforehand(Knife):
    """Cancels at the first checkpoint, which is the only one of some operations, whatever order a loop takes."""

    async def __call__(self, operation, *arguments, **options):
        result = None
        with anyio.CancelScope() as scope:
            scope.cancel()
            result = await operation(*arguments, **options)
        self.cut = scope.cancelled_caught
        assert self.cut
        return result


@pytest.fixture
def every():
    """Run a scenario with fresh nodes for each cut. Afterwards nothing is in doubt and a transfer must succeed."""

    async def run(scenario, least=0, **options):
        async def one(knife):
            async with bank("a", "b", **options) as cluster:
                await transfer(cluster.nodes["a"], account("a", 9), account("b", 9), 1)  # connects
                await scenario(knife, cluster)
                nodes = cluster.nodes.values()
                await until(lambda: not any(node.participants.in_doubt for node in nodes))
                await until(lambda: not any(coordinator_busy(node) for node in nodes))
                before = cluster.balance("a") + cluster.balance("b")
                assert before == 200
                state = await transfer(cluster.nodes["a"], account("a"), account("b"), 1)
                assert state.kind is StateKind.COMMITTED

        await one(Beforehand(0))
        return await at_every_checkpoint(one, least=least)

    return run


def coordinator_busy(node):
    phases = {transaction.phase.value for transaction in node.coordinator._core.transactions.values()}
    return phases - {"active"}


async def test_a_whole_transaction(every):
    """Cancelled anywhere it is committed on both or on none."""

    async def scenario(knife, cluster):
        await knife(transfer, cluster.nodes["a"], account("a"), account("b"), 10)
        nodes = cluster.nodes.values()
        await until(lambda: not any(node.participants.in_doubt for node in nodes))
        await until(lambda: not any(coordinator_busy(node) for node in nodes))
        assert (cluster.balance("a"), cluster.balance("b")) in {(100, 100), (90, 110)}
        if not knife.cut:
            assert cluster.balance("a") == 90

    await every(scenario, least=5)


@pytest.mark.parametrize("step", ["begin", "add", "abort", "state"])
async def test_the_steps_of_the_coordinator(every, step):
    """What was cancelled was done, or was not, and can be done again."""

    async def scenario(knife, cluster):
        coordinator = cluster.nodes["a"].coordinator
        identity = await coordinator.begin_transaction()
        operation = TransactionOperation("1", B1, "credit", {"amount": 0})
        if step == "begin":
            before = coordinator.under_way
            await knife(coordinator.begin_transaction)
            assert coordinator.under_way == before + (not knife.cut)
        elif step == "add":
            await knife(coordinator.add_operation, identity, operation)
            if not knife.cut:
                with pytest.raises(TransactionRefused, match="there already"):
                    await coordinator.add_operation(identity, operation)
            else:
                await coordinator.add_operation(identity, operation)
            await coordinator.commit_transaction(identity)
        elif step == "abort":
            await knife(coordinator.abort_transaction, identity)
            assert (await coordinator.get_transaction_state(identity)).kind.aborts != knife.cut
        else:
            state = await knife(coordinator.get_transaction_state, identity)
            assert knife.cut or state.kind is StateKind.PREPARING

    await every(scenario)


async def test_receive(every):
    """A vote whose delivery was cancelled counts, or can be delivered again."""

    async def scenario(knife, cluster):
        coordinator = cluster.nodes["a"].coordinator
        ghost = Vote(TransactionId.generate(NodeId("a")), B1, TransactionVote.no("x"))
        await knife(coordinator.receive, ghost, NodeId("b"))
        await coordinator.receive(ghost, NodeId("b"))

    await every(scenario)


@pytest.mark.parametrize("way", ["send", "broadcast", "query"])
async def test_the_sender(every, way):
    """Cancelled anywhere, a message arrived or did not, and the next one does."""

    async def scenario(knife, cluster):
        sender = cluster.nodes["a"].sender
        identity = TransactionId.generate(NodeId("a"))
        prepare = Prepare(identity, (TransactionOperation("1", B1, "credit", {"amount": 5}),))
        if way == "send":
            await knife(sender.send_message, B1, prepare)
        elif way == "broadcast":
            result = await knife(sender.broadcast_message, [B1, account("b", 2)], prepare)
            assert knife.cut or len(result.succeeded) == 2
        else:
            await knife(sender.send_message, coordinator_of(NodeId("b")), QueryStatus(identity), node=NodeId("a"))
        await sender.send_message(B1, Abort(identity))
        assert (await sender.get_stats()).total_errors == 0

    # The longest pause is also the time that a repeated message is given: no error on a machine that stalls.
    patient = {
        "config": replace(FAST, resend_max=5.0),
        "participant_config": replace(CURIOUS, ask_max=5.0),
    }
    await every(scenario, least=2, **patient)


@pytest.mark.parametrize("order", ["prepare", "commit", "abort", "state"])
async def test_participants(every, order):
    """Cancelled anywhere, an order is carried out or not, and its repetition has the same answer."""

    async def scenario(knife, cluster):
        one = cluster.nodes["b"].participants.find(B1)
        identity = TransactionId.generate(NodeId("a"))
        operations = [TransactionOperation("1", B1, "credit", {"amount": 0})]
        if order != "prepare":
            await one.prepare(identity, operations, 1.0)
        actions = {
            "prepare": (one.prepare, identity, operations, 1.0),
            "commit": (one.commit, identity),
            "abort": (one.abort, identity, "x"),
            "state": (one.get_transaction_state, identity),
        }
        await knife(*actions[order])
        action, *arguments = actions[order]
        first = await action(*arguments)
        assert first == await action(*arguments)
        if order in ("prepare", "state"):
            await one.abort(identity, "over")

    await every(scenario)


def made(kind, path=None):
    """Return an object to be entered, with its logs in ``path`` or in memory."""
    name = NodeId("a")
    if kind == "coordinator":
        return TransactionCoordinator(name, None, log=path and SqliteLog(path / "log.db"), config=FAST)
    if kind == "participants":
        return DurableParticipants(name, log=path and SqliteVoteLog(path / "votes.db"), config=CURIOUS)
    if kind == "node":
        return TransactionNode(name, StaticNodeResolver([]), directory=path)
    return GrpcTransactionMessageSender(name, StaticNodeResolver([]))


@pytest.mark.parametrize("kind", ["coordinator", "participants", "node", "sender"])
async def test_entering_and_leaving(kind):
    """Nothing is left that runs, whenever it is cancelled: the test's task groups would wait for it."""

    async def one(knife):
        async def block():
            async with made(kind):
                await anyio.lowlevel.checkpoint()

        await knife(block)

    assert await at_every_checkpoint(one) >= 1


@pytest.mark.parametrize("kind", ["coordinator", "participants", "node"])
@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 5, 10, 50, 200])
async def test_entering_and_leaving_with_files(kind, ticks, tmp_path):
    """However far it came while threads work at the files, these are free and usable afterwards."""

    async def block():
        async with made(kind, tmp_path):
            await anyio.lowlevel.checkpoint()

    await Knife(ticks)(block)
    async with made(kind, tmp_path):
        pass


async def test_a_commit_that_waits_for_the_disk_is_durable_though_its_caller_left(tmp_path):
    """What was cancelled while it was being written is written."""
    identity = TransactionId.generate(NodeId("x"))
    async with DurableParticipants(NodeId("b"), log=SqliteVoteLog(tmp_path / "votes.db")) as participants:
        participants.register("Account-b", BankAccount())
        one = participants.find(B1)
        await one.prepare(identity, [TransactionOperation("1", B1, "credit", {"amount": 7})], 1.0)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await one.commit(identity)
        await one.commit(identity)
        assert one.state == {"balance": 107}
    async with DurableParticipants(NodeId("b"), log=SqliteVoteLog(tmp_path / "votes.db")) as participants:
        participants.register("Account-b", BankAccount())
        assert participants.state(B1) == {"balance": 107}
