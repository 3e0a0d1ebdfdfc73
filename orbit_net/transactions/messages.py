"""What coordinators and participants say to each other."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from orbit_net.errors import ConfigurationError
from orbit_net.model import AddressableReference
from orbit_net.transactions.identity import TransactionId, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Abort",
    "Acknowledge",
    "Commit",
    "Prepare",
    "QueryStatus",
    "StateKind",
    "StatusResponse",
    "TransactionMessage",
    "TransactionOperation",
    "TransactionState",
    "TransactionVote",
    "Vote",
    "VoteKind",
    "json_of",
]

_MOST_SECONDS: Final = (1 << 63) / 1_000


class VoteKind(IntEnum):
    """What a participant can say to a Prepare; the numbers are those of the wire."""

    YES = 0
    NO = 1
    UNCERTAIN = 2


class StateKind(IntEnum):
    """How a transaction stands; the numbers are those of the wire."""

    PREPARING = 0
    PREPARED = 1
    COMMITTING = 2
    COMMITTED = 3
    ABORTING = 4
    ABORTED = 5
    TIMED_OUT = 6
    FAILED = 7

    @property
    def commits(self) -> bool:
        """Whether the decision is to commit. FAILED says neither."""
        return self in (StateKind.COMMITTING, StateKind.COMMITTED)

    @property
    def aborts(self) -> bool:
        """Whether the decision is to abort. FAILED says neither."""
        return self in (StateKind.ABORTING, StateKind.ABORTED, StateKind.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class TransactionState:
    """How a transaction stands; ``details`` is for a person to read."""

    kind: StateKind
    details: str | None = None

    def __str__(self) -> str:
        return self.kind.name if self.details is None else f"{self.kind.name}: {self.details}"


@dataclass(frozen=True, slots=True)
class TransactionVote:
    """A vote, and why. UNCERTAIN asks to be asked again."""

    kind: VoteKind
    reason: str | None = None

    @classmethod
    def yes(cls) -> Self:
        """Whatever happens, this participant can commit."""
        return cls(VoteKind.YES)

    @classmethod
    def no(cls, reason: str) -> Self:
        """This participant cannot commit, and has kept nothing of the transaction."""
        return cls(VoteKind.NO, reason)

    def __str__(self) -> str:
        return self.kind.name if self.reason is None else f"{self.kind.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TransactionOperation:
    """One thing that one actor is to do: ``data`` in the words of its type, and ``compensation`` to make up for it.

    Both are JSON values; they are copied as JSON has them, so a tuple becomes a list. A ``compensation`` of None is
    none. Raises :class:`ConfigurationError` for what JSON has no form for.
    """

    operation_id: str
    target: AddressableReference
    operation_type: str
    data: Any = None
    compensation: Any = None
    data_text: str = field(init=False, repr=False, compare=False)
    compensation_text: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("operation_id", "operation_type"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"TransactionOperation.{name} is {value!r}; it must be text that is not empty")
        if not isinstance(self.target, AddressableReference):
            raise ConfigurationError(f"TransactionOperation.target is {self.target!r}; it must name an actor")
        text = json_of("TransactionOperation.data", self.data)
        object.__setattr__(self, "data_text", text)
        object.__setattr__(self, "data", json.loads(text))
        none = self.compensation is None
        text = json_of("TransactionOperation.compensation", self.compensation)
        object.__setattr__(self, "compensation_text", None if none else text)
        object.__setattr__(self, "compensation", json.loads(text))

    def compensating(self, operation_id: str) -> TransactionOperation:
        """Return the operation that makes up for this one once it is committed, for a transaction of its own.

        Its type is the ``action`` of the compensation, its data the rest. Raises :class:`ConfigurationError` where
        there is no such compensation.
        """
        given = self.compensation
        if not isinstance(given, dict) or not isinstance(given.get("action"), str):
            text = f"the operation {self.operation_id!r} has no compensation with an action, but {given!r}"
            raise ConfigurationError(text)
        data = {name: value for name, value in given.items() if name != "action"}
        return TransactionOperation(operation_id, self.target, given["action"], data)


def json_of(field: str, value: Any) -> str:
    """Return compact JSON. Raises :class:`ConfigurationError`, naming ``field``, for what JSON has no form for."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{field} is {value!r}; it must be a JSON value: {error}") from None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Coordinator to participants: get ready for your operations and vote within ``timeout`` seconds.

    One message may hold the operations of several participants; each takes those that name it, in their order.
    """

    transaction_id: TransactionId
    operations: tuple[TransactionOperation, ...]
    timeout: float = 30.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        given: Any = self.timeout
        seconds = given.total_seconds() if isinstance(given, timedelta) else given
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _MOST_SECONDS:
            raise ConfigurationError(f"Prepare.timeout is {given!r}; it must be seconds of at least 0, or a timedelta")
        if math.isnan(seconds):
            raise ConfigurationError("Prepare.timeout is not a number")
        object.__setattr__(self, "timeout", float(seconds))

    def narrowed(self, targets: Iterable[AddressableReference]) -> Prepare:
        """Return the same for some participants, with their operations only."""
        wanted = {as_text(target) for target in targets}
        kept = tuple(operation for operation in self.operations if as_text(operation.target) in wanted)
        return self if len(kept) == len(self.operations) else Prepare(self.transaction_id, kept, self.timeout)


@dataclass(frozen=True, slots=True)
class Vote:
    """Participant to coordinator: how it votes."""

    transaction_id: TransactionId
    participant: AddressableReference
    vote: TransactionVote


@dataclass(frozen=True, slots=True)
class Commit:
    """Coordinator to participants: make it so."""

    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class Abort:
    """Coordinator to participants: undo it, and why."""

    transaction_id: TransactionId
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Participant to coordinator: the decision is carried out, for good; or it cannot be, and why."""

    transaction_id: TransactionId
    participant: AddressableReference
    success: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """Either to either: how does it stand?"""

    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class StatusResponse:
    """The answer to a query."""

    transaction_id: TransactionId
    state: TransactionState


TransactionMessage: TypeAlias = Prepare | Vote | Commit | Abort | Acknowledge | QueryStatus | StatusResponse
"""One step of two-phase commit."""
