"""Where coordinators and participants keep their records: the protocols, and logs in memory for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orbit_net.transactions.participation import Stored
from orbit_net.transactions.records import Applied, Decided, Failed, Finished, Pruned, Undone, Voted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.records import DecisionRecord, VoteRecord

__all__ = ["DecisionLog", "MemoryLog", "MemoryVoteLog", "VoteLog"]


class DecisionLog(Protocol):
    """What a coordinator needs of its log. The methods are called one at a time; all raise :class:`StorageError`.

    ``blocking`` says that they wait for a disk, so that they are called in a thread.
    """

    blocking: bool

    def load(self) -> Sequence[Decided | Failed]:
        """Open the log, and return the decisions that are not finished."""

    def write(self, records: Sequence[DecisionRecord]) -> None:
        """Return when all of these are durable; after a failure none or all of them may be."""

    def close(self) -> None:
        """Let go of what was opened."""


class VoteLog(Protocol):
    """What the participants of a node need of their log; as :class:`DecisionLog` otherwise."""

    blocking: bool

    def load(self) -> Stored:
        """Open the log, and return what it holds."""

    def write(self, records: Sequence[VoteRecord]) -> None:
        """Return when all of these are durable; after a failure none or all of them may be."""

    def close(self) -> None:
        """Let go of what was opened."""


class MemoryLog:
    """Decisions in memory: they survive the coordinator, not the process. ``writes`` counts the batches."""

    blocking = False

    def __init__(self) -> None:
        self.writes = 0
        self._decisions: dict[TransactionId, Decided | Failed] = {}

    def load(self) -> Sequence[Decided | Failed]:
        """Return the decisions that are not finished."""
        return list(self._decisions.values())

    def write(self, records: Sequence[DecisionRecord]) -> None:
        """Keep or forget decisions."""
        self.writes += 1
        for record in records:
            if isinstance(record, Finished):
                self._decisions.pop(record.transaction_id, None)
            else:
                self._decisions[record.transaction_id] = record

    def close(self) -> None:
        """Nothing was opened."""

    def __repr__(self) -> str:
        return f"<MemoryLog, {len(self._decisions)} decisions>"


class MemoryVoteLog:
    """Votes and states in memory: they survive the participants, not the process. ``writes`` counts the batches."""

    blocking = False

    def __init__(self) -> None:
        self.writes = 0
        self._states: dict[AddressableReference, str] = {}
        self._votes: dict[tuple[AddressableReference, TransactionId], Voted] = {}
        self._applied: dict[tuple[AddressableReference, TransactionId], None] = {}
        self._horizons: dict[NodeId, int] = {}

    def load(self) -> Stored:
        """Return what is kept."""
        return Stored(dict(self._states), tuple(self._votes.values()), tuple(self._applied), dict(self._horizons))

    def write(self, records: Sequence[VoteRecord]) -> None:
        """Keep what the records say."""
        self.writes += 1
        for record in records:
            self._write(record)

    def _write(self, record: VoteRecord) -> None:
        match record:
            case Voted(actor, identity):
                self._votes[actor, identity] = record
            case Applied(actor, identity):
                self._states[actor] = self._votes.pop((actor, identity)).state
                self._applied[actor, identity] = None
            case Undone(actor, identity):
                self._votes.pop((actor, identity), None)
            case Pruned(coordinator, horizon):
                self._horizons[coordinator] = horizon
                for name in [name for name in self._applied if name[1].coordinator == coordinator]:
                    if name[1].created_at <= horizon:
                        del self._applied[name]

    def close(self) -> None:
        """Nothing was opened."""

    def __repr__(self) -> str:
        return f"<MemoryVoteLog, {len(self._states)} actors, {len(self._votes)} votes>"
