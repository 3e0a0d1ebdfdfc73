"""One transaction at its coordinator: where it is, what takes it on, and whom it waits for."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from orbit_net.errors import TransactionRefused
from orbit_net.transactions.messages import Abort, Commit, Prepare, StateKind, TransactionState
from orbit_net.transactions.step import Outgoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbit_net.model import AddressableReference
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionOperation

__all__ = ["Event", "Phase", "Transaction"]


class Phase(Enum):
    """Where a transaction is."""

    ACTIVE = "active"
    PREPARING = "preparing"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Event(Enum):
    """What takes a transaction on."""

    ASKED = "its owner wants it committed"
    DROPPED = "its owner wants it aborted"
    LATE = "its time is up"
    VETOED = "a participant cannot commit, or cannot be reached"
    AGREED = "all have voted yes"
    DONE = "all have acknowledged"


# An absent key is an order that cannot be. There is no way from COMMITTING but to COMMITTED.
_NEXT: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.ACTIVE, Event.ASKED): Phase.PREPARING,
    (Phase.ACTIVE, Event.DROPPED): Phase.ABORTED,
    (Phase.ACTIVE, Event.LATE): Phase.ABORTED,
    (Phase.PREPARING, Event.DROPPED): Phase.ABORTING,
    (Phase.PREPARING, Event.LATE): Phase.ABORTING,
    (Phase.PREPARING, Event.VETOED): Phase.ABORTING,
    (Phase.PREPARING, Event.AGREED): Phase.COMMITTING,
    (Phase.COMMITTING, Event.DONE): Phase.COMMITTED,
    (Phase.ABORTING, Event.DONE): Phase.ABORTED,
}

_STATES: Mapping[Phase, StateKind] = {
    Phase.ACTIVE: StateKind.PREPARING,
    Phase.PREPARING: StateKind.PREPARING,
    Phase.COMMITTING: StateKind.COMMITTING,
    Phase.ABORTING: StateKind.ABORTING,
    Phase.COMMITTED: StateKind.COMMITTED,
    Phase.ABORTED: StateKind.ABORTED,
}


class Transaction:
    """One transaction. ``waiting`` are those whose vote or acknowledgement is missing; names are in text form.

    Invariant: ``waiting`` is a part of ``participants``, and empty only in ACTIVE, COMMITTED and ABORTED.
    """

    __slots__ = (
        "changed",
        "deadline",
        "delay",
        "failure",
        "id",
        "operations",
        "participants",
        "phase",
        "reason",
        "refusals",
        "resend",
        "timed_out",
        "timeout",
        "vetoes",
        "waiting",
    )

    def __init__(self, identity: TransactionId, *, timeout: float, deadline: float, now: float) -> None:
        self.id = identity
        self.phase = Phase.ACTIVE
        self.timeout = timeout
        self.deadline = deadline
        self.resend = deadline
        self.delay = 0.0
        self.changed = now
        self.operations: dict[str, TransactionOperation] = {}
        self.participants: dict[AddressableReference, AddressableReference] = {}
        self.waiting: dict[AddressableReference, AddressableReference] = {}
        self.vetoes: set[AddressableReference] = set()
        self.refusals: dict[AddressableReference, str] = {}
        self.failure = ""
        self.reason = ""
        self.timed_out = False

    def enter(self, event: Event, now: float) -> None:
        """Go where the table says. Raises :class:`TransactionRefused` for an order that cannot be."""
        following = _NEXT.get((self.phase, event))
        if following is None:
            raise TransactionRefused(f"the transaction {self.id} is {self.phase.value}; it is too late: {event.value}")
        self.phase = following
        self.changed = now

    @property
    def state(self) -> TransactionState:
        """How it stands, for others."""
        if self.failure:
            return TransactionState(StateKind.FAILED, self.failure)
        if self.timed_out:
            return TransactionState(StateKind.TIMED_OUT, self.reason)
        return TransactionState(_STATES[self.phase], self.reason or None)

    @property
    def due(self) -> float:
        """When something has to be done for it, if nothing happens before."""
        return min(self.deadline, self.resend) if self.phase is Phase.PREPARING else self.resend

    def message(self) -> Prepare | Commit | Abort:
        """Return what those that it waits for are told."""
        if self.phase is Phase.PREPARING:
            return Prepare(self.id, tuple(self.operations.values()), self.timeout)
        return Commit(self.id) if self.phase is Phase.COMMITTING else Abort(self.id, self.reason)

    def outgoing(self) -> Outgoing:
        """Return the message to all that it waits for."""
        return Outgoing(self.message(), tuple(self.waiting.values()))

    def __repr__(self) -> str:
        return f"<Transaction {self.id} {self.phase.value}, {len(self.waiting)} of {len(self.participants)} missing>"
