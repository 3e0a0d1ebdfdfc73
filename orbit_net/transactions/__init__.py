"""Distributed transactions: two-phase commit between the actors of several nodes."""

from orbit_net.transactions.convert import (
    TargetConverter,
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionOperationConverter,
    TransactionStateConverter,
    TransactionVoteConverter,
)
from orbit_net.transactions.coordination import CoordinatorCore
from orbit_net.transactions.coordinator import TransactionCoordinator
from orbit_net.transactions.delivery import (
    BroadcastResult,
    Delivery,
    TransactionMessageSender,
    coordinator_of,
    retry_table,
)
from orbit_net.transactions.durable import DurableParticipant, DurableParticipants
from orbit_net.transactions.identity import TransactionId, as_text
from orbit_net.transactions.log import DecisionLog, MemoryLog, MemoryVoteLog, VoteLog
from orbit_net.transactions.messages import (
    Abort,
    Acknowledge,
    Commit,
    Prepare,
    QueryStatus,
    StateKind,
    StatusResponse,
    TransactionMessage,
    TransactionOperation,
    TransactionState,
    TransactionVote,
    Vote,
    VoteKind,
)
from orbit_net.transactions.node import TransactionNode
from orbit_net.transactions.open_transaction import OpenTransaction
from orbit_net.transactions.participant import (
    Behaviour,
    ParticipantRegistry,
    Participants,
    TransactionParticipant,
)
from orbit_net.transactions.participation import ParticipantCore, Standing, Stored
from orbit_net.transactions.sender import GrpcTransactionMessageSender
from orbit_net.transactions.service import TransactionService
from orbit_net.transactions.settings import ParticipantConfig, TransactionConfig
from orbit_net.transactions.sqlite import SqliteLog, SqliteVoteLog
from orbit_net.transactions.transaction import Phase

__all__ = [
    "Abort",
    "Acknowledge",
    "Behaviour",
    "BroadcastResult",
    "Commit",
    "CoordinatorCore",
    "DecisionLog",
    "Delivery",
    "DurableParticipant",
    "DurableParticipants",
    "GrpcTransactionMessageSender",
    "MemoryLog",
    "MemoryVoteLog",
    "OpenTransaction",
    "ParticipantConfig",
    "ParticipantCore",
    "ParticipantRegistry",
    "Participants",
    "Phase",
    "Prepare",
    "QueryStatus",
    "SqliteLog",
    "SqliteVoteLog",
    "Standing",
    "StateKind",
    "StatusResponse",
    "Stored",
    "TargetConverter",
    "TransactionConfig",
    "TransactionCoordinator",
    "TransactionId",
    "TransactionIdConverter",
    "TransactionMessage",
    "TransactionMessageConverter",
    "TransactionMessageSender",
    "TransactionNode",
    "TransactionOperation",
    "TransactionOperationConverter",
    "TransactionParticipant",
    "TransactionService",
    "TransactionState",
    "TransactionStateConverter",
    "TransactionVote",
    "TransactionVoteConverter",
    "Vote",
    "VoteKind",
    "VoteLog",
    "as_text",
    "coordinator_of",
    "retry_table",
]
