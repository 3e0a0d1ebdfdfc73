"""What must survive a crash: the records of coordinators and of participants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.identity import TransactionId

__all__ = ["Applied", "Decided", "DecisionRecord", "Failed", "Finished", "Pruned", "Undone", "VoteRecord", "Voted"]


@dataclass(frozen=True, slots=True)
class Decided:
    """Coordinator: the transaction commits, and these have to be told. There is no record of one that aborts."""

    transaction_id: TransactionId
    participants: tuple[AddressableReference, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """Coordinator: all have committed; the log can forget the transaction."""

    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class Failed:
    """Coordinator: some have committed, and others say that they never will. Kept for a person to look at."""

    transaction_id: TransactionId
    reason: str


DecisionRecord: TypeAlias = Decided | Finished | Failed


@dataclass(frozen=True, slots=True)
class Voted:
    """Participant: it has voted yes; ``state`` is what the actor has if the transaction commits."""

    actor: AddressableReference
    transaction_id: TransactionId
    state: Any


@dataclass(frozen=True, slots=True)
class Applied:
    """Participant: the transaction is committed here, and its state is the actor's."""

    actor: AddressableReference
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class Undone:
    """Participant: the transaction is aborted here; what was voted for is dropped."""

    actor: AddressableReference
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class Pruned:
    """Participant: what was applied for ``coordinator`` up to ``created_at`` is forgotten; nothing so old is new."""

    coordinator: NodeId
    created_at: int


VoteRecord: TypeAlias = Voted | Applied | Undone | Pruned
