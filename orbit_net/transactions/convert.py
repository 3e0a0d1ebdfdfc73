"""Between the messages of transactions and ``orbit.transactions``.

Every converter has ``to_proto`` and ``from_proto``. They are inverse to each other but for what the wire has no words
for: the kind of an actor's key (see :func:`~orbit_net.transactions.as_text`), and fractions of a millisecond.
``from_proto`` raises :class:`~orbit_net.errors.DecodeError` whose text begins with the path of what is wrong.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from orbit_net.errors import DecodeError
from orbit_net.model import AddressableReference, NodeId, key_from_text
from orbit_net.model.convert import built, number_of, required
from orbit_net.proto.orbit.transactions import (
    AbortMessage,
    AckMessage,
    CommitMessage,
    PrepareMessage,
    QueryStatusMessage,
    StatusResponseMessage,
    Target,
    TransactionIdProto,
    TransactionMessageProto,
    TransactionOperationProto,
    TransactionStateProto,
    TransactionStateProtoStateType,
    TransactionVoteProto,
    TransactionVoteProtoVoteType,
    VoteMessage,
)
from orbit_net.transactions.identity import TransactionId
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

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TargetConverter",
    "TransactionIdConverter",
    "TransactionMessageConverter",
    "TransactionOperationConverter",
    "TransactionStateConverter",
    "TransactionVoteConverter",
]

Part = TypeVar("Part")


def _actor(field: str, actor_type: str, key: str) -> AddressableReference:
    return built(field, lambda: AddressableReference(actor_type, key_from_text(key)))


class TargetConverter:
    """An actor's name ↔ ``Target``."""

    @staticmethod
    def to_proto(reference: AddressableReference) -> Target:
        """Return the message for an actor."""
        return Target(actor_type=reference.addressable_type, actor_key=str(reference.key))

    @staticmethod
    def from_proto(message: Target) -> AddressableReference:
        """Return the actor; its key is text, or no key."""
        return _actor("Target.actor_type", message.actor_type, message.actor_key)


class TransactionIdConverter:
    """:class:`TransactionId` ↔ ``TransactionIdProto``."""

    @staticmethod
    def to_proto(transaction_id: TransactionId) -> TransactionIdProto:
        """Return the message for an id."""
        return TransactionIdProto(
            id=transaction_id.id,
            coordinator_node=str(transaction_id.coordinator),
            created_at=transaction_id.created_at,
        )

    @staticmethod
    def from_proto(message: TransactionIdProto) -> TransactionId:
        """Return the id; the coordinator may be written in any of Orbit's forms."""
        node = built("TransactionIdProto.coordinator_node", lambda: NodeId.parse(message.coordinator_node))
        field = "TransactionIdProto.created_at" if message.created_at < 0 else "TransactionIdProto.id"
        return built(field, lambda: TransactionId(message.id, node, message.created_at))


class TransactionOperationConverter:
    """:class:`TransactionOperation` ↔ ``TransactionOperationProto``."""

    @staticmethod
    def to_proto(operation: TransactionOperation) -> TransactionOperationProto:
        """Return the message for an operation."""
        return TransactionOperationProto(
            operation_id=operation.operation_id,
            target_actor_type=operation.target.addressable_type,
            target_actor_key=str(operation.target.key),
            operation_type=operation.operation_type,
            operation_data=operation.data_text,
            compensation_data=operation.compensation_text,
        )

    @staticmethod
    def from_proto(message: TransactionOperationProto) -> TransactionOperation:
        """Return the operation; its data must be JSON."""
        name = "TransactionOperationProto"
        target = _actor(f"{name}.target_actor_type", message.target_actor_type, message.target_actor_key)
        data = _json(f"{name}.operation_data", message.operation_data)
        compensation = message.compensation_data
        undo = None if compensation is None else _json(f"{name}.compensation_data", compensation)
        field = f"{name}.operation_type" if message.operation_id else f"{name}.operation_id"
        return built(
            field, lambda: TransactionOperation(message.operation_id, target, message.operation_type, data, undo)
        )


def _json(field: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"{field}: it is not JSON: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class TransactionVoteConverter:
    """:class:`TransactionVote` ↔ ``TransactionVoteProto``."""

    @staticmethod
    def to_proto(vote: TransactionVote) -> TransactionVoteProto:
        """Return the message for a vote."""
        return TransactionVoteProto(vote_type=TransactionVoteProtoVoteType(int(vote.kind)), reason=vote.reason)

    @staticmethod
    def from_proto(message: TransactionVoteProto) -> TransactionVote:
        """Return the vote; an unknown kind is refused, for nothing may be taken for a yes."""
        kind = number_of(VoteKind, "TransactionVoteProto.vote_type", message.vote_type)
        return TransactionVote(kind, message.reason)


class TransactionStateConverter:
    """:class:`TransactionState` ↔ ``TransactionStateProto``."""

    @staticmethod
    def to_proto(state: TransactionState) -> TransactionStateProto:
        """Return the message for a state."""
        return TransactionStateProto(state_type=TransactionStateProtoStateType(int(state.kind)), details=state.details)

    @staticmethod
    def from_proto(message: TransactionStateProto) -> TransactionState:
        """Return the state; an unknown kind is refused, for nobody may guess how a transaction ended."""
        kind = number_of(StateKind, "TransactionStateProto.state_type", message.state_type)
        return TransactionState(kind, message.details)


def _milliseconds(seconds: float) -> int:
    """Return the fewest whole milliseconds that are not less than ``seconds``; what they say comes back the same."""
    nearest = round(seconds * 1_000)
    return nearest if nearest / 1_000 >= seconds else nearest + 1


class TransactionMessageConverter:
    """:data:`TransactionMessage` ↔ ``TransactionMessageProto``."""

    @staticmethod
    def to_proto(message: TransactionMessage) -> TransactionMessageProto:
        """Return what goes over the wire."""
        of = TransactionIdConverter.to_proto(message.transaction_id)
        match message:
            case Prepare():
                return TransactionMessageProto(
                    prepare=PrepareMessage(
                        transaction_id=of,
                        operations=list(map(TransactionOperationConverter.to_proto, message.operations)),
                        timeout_ms=_milliseconds(message.timeout),
                    )
                )
            case Vote(participant=participant):
                actor_type, key = participant.addressable_type, str(participant.key)
                vote = TransactionVoteConverter.to_proto(message.vote)
                return TransactionMessageProto(
                    vote=VoteMessage(transaction_id=of, participant_type=actor_type, participant_key=key, vote=vote)
                )
            case Commit():
                return TransactionMessageProto(commit=CommitMessage(transaction_id=of))
            case Abort():
                return TransactionMessageProto(abort=AbortMessage(transaction_id=of, reason=message.reason))
            case Acknowledge(participant=participant):
                return TransactionMessageProto(
                    acknowledge=AckMessage(
                        transaction_id=of,
                        participant_type=participant.addressable_type,
                        participant_key=str(participant.key),
                        success=message.success,
                        error=message.error,
                    )
                )
            case QueryStatus():
                return TransactionMessageProto(query_status=QueryStatusMessage(transaction_id=of))
            case StatusResponse():
                state = TransactionStateConverter.to_proto(message.state)
                return TransactionMessageProto(status_response=StatusResponseMessage(transaction_id=of, state=state))

    @staticmethod
    def from_proto(message: TransactionMessageProto) -> TransactionMessage:
        """Return the message; exactly what its kind needs must be there."""
        for field, convert in _KINDS.items():
            part = getattr(message, field)
            if part is not None:
                return convert(f"TransactionMessageProto.{field}", part)
        raise DecodeError("TransactionMessageProto.message_type: none of its kinds is set")


def _id(field: str, part: Any) -> TransactionId:
    return required(f"{field}.transaction_id", TransactionIdConverter.from_proto, part.transaction_id)


def _prepare(field: str, part: PrepareMessage) -> Prepare:
    operations = tuple(
        required(f"{field}.operations[{place}]", TransactionOperationConverter.from_proto, operation)
        for place, operation in enumerate(part.operations)
    )
    identity = _id(field, part)
    return built(f"{field}.timeout_ms", lambda: Prepare(identity, operations, part.timeout_ms / 1_000))


def _vote(field: str, part: VoteMessage) -> Vote:
    vote = required(f"{field}.vote", TransactionVoteConverter.from_proto, part.vote)
    participant = _actor(f"{field}.participant_type", part.participant_type, part.participant_key)
    return Vote(_id(field, part), participant, vote)


def _acknowledge(field: str, part: AckMessage) -> Acknowledge:
    participant = _actor(f"{field}.participant_type", part.participant_type, part.participant_key)
    return Acknowledge(_id(field, part), participant, part.success, part.error)


def _status_response(field: str, part: StatusResponseMessage) -> StatusResponse:
    state = required(f"{field}.state", TransactionStateConverter.from_proto, part.state)
    return StatusResponse(_id(field, part), state)


_KINDS: dict[str, Callable[[str, Any], TransactionMessage]] = {
    "prepare": _prepare,
    "vote": _vote,
    "commit": lambda field, part: Commit(_id(field, part)),
    "abort": lambda field, part: Abort(_id(field, part), part.reason),
    "acknowledge": _acknowledge,
    "query_status": lambda field, part: QueryStatus(_id(field, part)),
    "status_response": _status_response,
}
"""How each kind is read; the names are those of the fields of the oneof."""
