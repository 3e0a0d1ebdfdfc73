"""What the core says and hears: entries, state to persist, messages between nodes, and ``Ready``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from orbit_net.raft.membership import Membership

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AppendEntriesRequest",
    "AppendEntriesResponse",
    "CoreStatus",
    "Entry",
    "HardState",
    "InstallSnapshot",
    "Message",
    "ReadState",
    "Ready",
    "Role",
    "Snapshot",
    "TimeoutNow",
    "VoteRequest",
    "VoteResponse",
]


class Role(Enum):
    """What a node is in its term. A learner is a follower without a vote."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of the log. Without ``command`` and ``membership`` it is the no-op that begins a term (§8).

    ``timestamp`` is when the leader made it, in milliseconds since 1970; the core does not look at it.
    """

    term: int
    index: int
    command: bytes = b""
    membership: Membership | None = None
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive a restart beside the log (figure 2, *persistent state*)."""

    term: int = 0
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine after the entry ``index``, which has ``term``, and the membership in force there (§7)."""

    index: int = 0
    term: int = 0
    membership: Membership = field(default_factory=Membership)
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """RequestVote (figure 2). ``pre_vote``: would you vote for me in ``term``? Nobody changes its term for it.

    ``transfer``: the leader itself has asked for this election, so its lease does not count (thesis §3.10).
    ``context`` is repeated in the answer.
    """

    term: int
    sender: str
    target: str
    last_log_index: int
    last_log_term: int
    pre_vote: bool = False
    transfer: bool = False
    context: int = 0


@dataclass(frozen=True, slots=True)
class VoteResponse:
    """The answer to :class:`VoteRequest`. A granted pre-vote has the term that was asked for."""

    term: int
    sender: str
    target: str
    granted: bool
    pre_vote: bool = False
    context: int = 0


@dataclass(frozen=True, slots=True)
class AppendEntriesRequest:
    """AppendEntries (figure 2); a heartbeat has no entries. ``context`` is repeated in the answer."""

    term: int
    sender: str
    target: str
    prev_log_index: int
    prev_log_term: int
    entries: tuple[Entry, ...] = ()
    leader_commit: int = 0
    context: int = 0


@dataclass(frozen=True, slots=True)
class AppendEntriesResponse:
    """The answer to :class:`AppendEntriesRequest` and :class:`InstallSnapshot`.

    With ``success``, the log agrees with the leader's up to ``match``. Without, ``rejected`` is the ``prev_log_index``
    that did not fit, and the logs can agree at ``match``, which has ``match_term``, at the latest (§5.3, last part).
    """

    term: int
    sender: str
    target: str
    success: bool
    match: int = 0
    match_term: int = 0
    rejected: int = 0
    last_log_index: int = 0
    context: int = 0


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """InstallSnapshot (§7, figure 13), whole: chunks are the transport's business."""

    term: int
    sender: str
    target: str
    snapshot: Snapshot
    context: int = 0


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader asks ``target`` to stand for election at once (thesis §3.10)."""

    term: int
    sender: str
    target: str
    context: int = 0


Message: TypeAlias = (
    VoteRequest | VoteResponse | AppendEntriesRequest | AppendEntriesResponse | InstallSnapshot | TimeoutNow
)


@dataclass(frozen=True, slots=True)
class ReadState:
    """The answer to a read: serve it once ``index`` is applied. None: leadership was lost, ask again elsewhere."""

    token: int
    index: int | None


@dataclass(frozen=True, slots=True)
class CoreStatus:
    """What one node knows. ``matches`` is empty unless it leads."""

    role: Role
    term: int
    leader: str | None
    last_index: int
    commit: int
    applied: int
    membership: Membership
    matches: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ready:
    """What has to be done now, in this order where it says so.

    1. Send ``messages`` at any time.
    2. When :attr:`persists`: make ``hard_state``, ``snapshot`` and ``entries`` durable, in this order. An entry
       replaces what is stored at its index and above; a snapshot replaces the whole log.
    3. Then send ``messages_after_persist``, and, when :attr:`persists`, call :meth:`RaftCore.advance`.
    4. Restore the state machine from ``snapshot``, then apply ``committed``, in order. This may be done before 2: all
       of it is durable on this node already, or on a majority.

    The core can be stepped between 2 and 3; until ``advance`` further Readys have nothing to persist.
    """

    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    messages: tuple[Message, ...] = ()
    messages_after_persist: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    reads: tuple[ReadState, ...] = ()

    @property
    def persists(self) -> bool:
        """Whether anything has to become durable."""
        return self.hard_state is not None or bool(self.entries) or self.snapshot is not None
