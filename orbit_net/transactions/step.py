"""What a core says is to be done: one value, for coordinators and participants alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionMessage, TransactionState

__all__ = ["News", "Outgoing", "Step"]

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for some actors, or, without ``targets``, for the coordinator on ``node``.

    ``node`` beside targets is where these actors are, because they have just spoken from there.
    """

    message: TransactionMessage
    targets: tuple[AddressableReference, ...] = ()
    node: NodeId | None = None


@dataclass(frozen=True, slots=True)
class News:
    """A transaction is decided, and ``final`` when nothing is left to be done for it."""

    transaction_id: TransactionId
    state: TransactionState
    final: bool


@dataclass(frozen=True, slots=True)
class Step(Generic[Record]):
    """Send ``now``. Persist ``records`` after those of all earlier steps; then send ``after`` and tell ``news``.

    A step without records waits for those of earlier steps as well: so the core may go on at once as if they were
    durable, for nobody hears of it before they are. ``lazy`` records keep their place in the order, and may become
    durable at any later time: losing them costs a question, not an answer.
    """

    now: tuple[Outgoing, ...] = ()
    records: tuple[Record, ...] = ()
    after: tuple[Outgoing, ...] = ()
    news: tuple[News, ...] = ()
    lazy: tuple[Record, ...] = ()
