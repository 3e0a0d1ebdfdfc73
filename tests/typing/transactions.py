"""What mypy must make of transactions (``make types``); never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from orbit_net.client import PoolStats
from orbit_net.transactions import (
    BroadcastResult,
    Commit,
    DurableParticipants,
    GrpcTransactionMessageSender,
    MemoryLog,
    MemoryVoteLog,
    OpenTransaction,
    ParticipantRegistry,
    SqliteLog,
    SqliteVoteLog,
    TransactionCoordinator,
    TransactionId,
    TransactionMessage,
    TransactionNode,
    TransactionOperation,
    TransactionService,
    TransactionState,
)

if TYPE_CHECKING:
    from orbit_net.directory import EtcdNodeResolver, StaticNodeResolver
    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions import (
        Behaviour,
        DecisionLog,
        DurableParticipant,
        Participants,
        TransactionMessageSender,
        TransactionParticipant,
        VoteLog,
    )


class BankAccount:
    """A behaviour, by its shape alone."""

    def initial(self, actor: AddressableReference) -> dict[str, int]:
        return {"balance": 0}

    def apply(self, state: dict[str, int], operation: TransactionOperation) -> dict[str, int]:
        return state


async def shapes(sender: GrpcTransactionMessageSender, one: DurableParticipant, all_: DurableParticipants) -> None:
    behaviour: Behaviour = BankAccount()
    participant: TransactionParticipant = one
    transport: TransactionMessageSender = sender
    logs: list[DecisionLog] = [MemoryLog(), SqliteLog("decisions.db")]
    votes: list[VoteLog] = [MemoryVoteLog(), SqliteVoteLog("votes.db")]
    found: list[Participants] = [all_, ParticipantRegistry()]
    all_.register("BankAccount", behaviour)
    all_.register("BankAccount", object())  # type: ignore[arg-type]
    ParticipantRegistry().add(one.reference, participant)
    del transport, logs, votes, found


async def messages(sender: GrpcTransactionMessageSender, target: AddressableReference, identity: TransactionId) -> None:
    assert_type(await sender.send_message(target, Commit(identity), timeout=1.0), TransactionMessage | None)
    assert_type(await sender.broadcast_message([target], Commit(identity)), BroadcastResult)
    assert_type(await sender.get_stats(), PoolStats)
    await sender.send_message(target, "commit")  # type: ignore[arg-type]


async def owners(coordinator: TransactionCoordinator, target: AddressableReference) -> None:
    assert_type(await coordinator.begin_transaction(timeout=1.0), TransactionId)
    async with coordinator.transaction() as transaction:
        assert_type(transaction, OpenTransaction)
        assert_type(await transaction.add_operation(target, "debit", {"amount": 1}), TransactionOperation)
    assert_type(transaction.state, TransactionState | None)
    assert_type(await coordinator.commit_transaction(transaction.id), TransactionState)


async def nodes(name: NodeId, static: StaticNodeResolver, etcd: EtcdNodeResolver, target: AddressableReference) -> None:
    async with TransactionNode(name, static, directory="/var/lib/orbit") as node, TransactionNode(name, etcd):
        assert_type(node.service, TransactionService)
        assert_type(node.state(target), Any)
