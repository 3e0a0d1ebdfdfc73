"""What may take part in transactions, and how it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from orbit_net.transactions.identity import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orbit_net.model import AddressableReference
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionOperation, TransactionState, TransactionVote

__all__ = ["Behaviour", "ParticipantRegistry", "Participants", "TransactionParticipant"]


class TransactionParticipant(Protocol):
    """One actor that takes part. Each of its methods may be called again for the same transaction, at any time.

    What it answers must be durable before it answers: after a yes it can commit whatever happens.
    """

    async def prepare(
        self, transaction_id: TransactionId, operations: Sequence[TransactionOperation], timeout: float
    ) -> TransactionVote:
        """Get ready and vote; ``timeout`` seconds is how long the coordinator waits for that."""

    async def commit(self, transaction_id: TransactionId) -> None:
        """Make it so. Raises :class:`TransactionRefused` where that can never be; anything else is tried again."""

    async def abort(self, transaction_id: TransactionId, reason: str) -> None:
        """Undo it. Raises :class:`TransactionRefused` where that can never be; anything else is tried again."""

    async def get_transaction_state(self, transaction_id: TransactionId) -> TransactionState | None:
        """Return how a transaction stands here, or None for one that is not known."""


class Participants(Protocol):
    """The participants of one node."""

    def find(self, reference: AddressableReference) -> TransactionParticipant | None:
        """Return the participant with this name, in text form, or None."""

    def knowing(self, transaction_id: TransactionId) -> Iterator[TransactionParticipant]:
        """Yield those that may know of a transaction."""

    @property
    def serving(self) -> bool:
        """Whether they take messages."""


class ParticipantRegistry:
    """Participants of your own, by the text form of their names."""

    def __init__(self) -> None:
        self._participants: dict[AddressableReference, TransactionParticipant] = {}

    def add(self, reference: AddressableReference, participant: TransactionParticipant) -> None:
        """Have ``participant`` get the messages for ``reference``."""
        self._participants[as_text(reference)] = participant

    def remove(self, reference: AddressableReference) -> None:
        """Take a participant out; no effect on one that is not there."""
        self._participants.pop(as_text(reference), None)

    def find(self, reference: AddressableReference) -> TransactionParticipant | None:
        """Return the participant with this name, or None."""
        return self._participants.get(as_text(reference))

    def knowing(self, transaction_id: TransactionId) -> Iterator[TransactionParticipant]:
        """Yield all participants: only they can tell."""
        yield from list(self._participants.values())

    @property
    def serving(self) -> bool:
        """Always true: each participant answers for itself."""
        return True

    def __repr__(self) -> str:
        return f"<ParticipantRegistry of {len(self._participants)}>"


class Behaviour(Protocol):
    """What the actors of one type do in transactions: functions of their state, without any effect.

    A state is a JSON value. :class:`~orbit_net.transactions.DurableParticipants` keeps it.

    Example::

        class BankAccount:
            def initial(self, actor: AddressableReference) -> dict[str, int]:
                return {"balance": 0}

            def apply(self, state: dict[str, int], operation: TransactionOperation) -> dict[str, int]:
                change = operation.data["amount"] * (1 if operation.operation_type == "credit" else -1)
                if state["balance"] + change < 0:
                    raise TransactionRefused("not enough money")
                return {"balance": state["balance"] + change}
    """

    def initial(self, actor: AddressableReference) -> Any:
        """Return the state of an actor that was never changed."""

    def apply(self, state: Any, operation: TransactionOperation) -> Any:
        """Return the state after an operation. Raises :class:`TransactionRefused` to vote no."""
