"""``orbit.transactions.TransactionService``: what other nodes call."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net import __version__
from orbit_net.errors import DecodeError, OrbitError, TransactionRefused
from orbit_net.model import NodeId
from orbit_net.model.convert import built, required
from orbit_net.proto.orbit.transactions import (
    BroadcastMessageResponse,
    HealthCheckResponse,
    HealthCheckResponseStatus,
    Target,
    TransactionMessageResponse,
    TransactionStatusResponse,
)
from orbit_net.proto.orbit.transactions.services import TransactionServiceBase
from orbit_net.transactions.convert import (
    TargetConverter,
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionStateConverter,
)
from orbit_net.transactions.delivery import COORDINATOR_TYPE, coordinator_of
from orbit_net.transactions.identity import as_text
from orbit_net.transactions.messages import (
    Abort,
    Acknowledge,
    Commit,
    Prepare,
    QueryStatus,
    StatusResponse,
    Vote,
)
from orbit_net.transactions.participant import ParticipantRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.model import AddressableReference
    from orbit_net.proto.orbit.transactions import (
        BroadcastMessageRequest,
        HealthCheckRequest,
        TransactionMessageRequest,
        TransactionStatusRequest,
    )
    from orbit_net.transactions.delivery import TransactionMessageSender
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionMessage, TransactionState
    from orbit_net.transactions.participant import Participants, TransactionParticipant
    from orbit_net.transactions.report import Report

__all__ = ["CoordinatorPort", "TransactionService"]

T = TypeVar("T")

_AT_A_TIME: Final = 64
"""Targets of one broadcast that are served at the same time: their number is the peer's choice."""

_log = logging.getLogger("orbit_net.transactions")


class CoordinatorPort(Protocol):
    """What the service asks of the coordinator of its node."""

    @property
    def serving(self) -> bool:
        """Whether it has read its log, and the log works."""

    async def receive(self, message: Vote | Acknowledge, sender: NodeId) -> None:
        """Take what a participant on the node ``sender`` says. Raises :class:`OrbitError`."""

    async def get_transaction_state(self, transaction_id: TransactionId) -> TransactionState:
        """Return how a transaction stands, once that is durable. Raises :class:`OrbitError`."""

    def report(self, transaction_id: TransactionId) -> Report | None:
        """Return what is known of a transaction."""


class TransactionService(TransactionServiceBase):
    """Gives each message to the participant or the coordinator that it names, and the answer back.

    Participants are found by the text form of their names. The answer goes into the response where the sender takes it
    there, and else as a message of its own by ``sender``, as nodes of Orbit-RS expect it. A duplicate is answered as
    the original was; an order that cannot be is refused with the reason. ``clock`` gives seconds.
    """

    def __init__(
        self,
        node_id: NodeId,
        participants: Participants | None = None,
        *,
        coordinator: CoordinatorPort | None = None,
        sender: TransactionMessageSender | None = None,
        version: str = __version__,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node_id = node_id
        self.participants: Participants = ParticipantRegistry() if participants is None else participants
        self.coordinator = coordinator
        self._sender = sender
        self._version = version
        self._clock = clock
        self._started = clock()

    # --- rpcs ------------------------------------------------------------------------------------

    async def send_transaction_message(self, request: TransactionMessageRequest) -> TransactionMessageResponse:
        """Deliver one message. INVALID_ARGUMENT for one that says nothing, NOT_FOUND where the target is not here."""
        sender, message = _read(request)
        reference = _target(Target(actor_type=request.target_actor_type, actor_key=request.target_actor_key))
        if self._elsewhere(reference, message):
            raise GRPCError(Status.NOT_FOUND, f"there is no {reference} on {self.node_id}")
        return await self._deliver(reference, message, sender, inline=request.inline_reply)

    async def broadcast_transaction_message(self, request: BroadcastMessageRequest) -> BroadcastMessageResponse:
        """Deliver one message to several targets at once, and say how it went for each."""
        sender, message = _read(request)
        targets = list(map(_target, request.targets))
        results: list[TransactionMessageResponse] = [TransactionMessageResponse()] * len(targets)

        left = iter(enumerate(targets))

        async def deliver() -> None:
            for place, target in left:  # whichever is next, for whoever is free
                results[place] = await self._deliver(target, message, sender, inline=request.inline_reply)

        if len(targets) > 1:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(len(targets), _AT_A_TIME) - 1):
                    tasks.start_soon(deliver)
                await deliver()
        else:
            await deliver()
        failed = [
            f"{target}: {result.error_message}"
            for target, result in zip(targets, results, strict=True)
            if not result.success
        ]
        return BroadcastMessageResponse(
            successful_sends=len(results) - len(failed), failed_sends=len(failed), errors=failed, results=results
        )

    async def transaction_health_check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        """Tell whether this node takes messages, with its version and how long it has been up."""
        serving = self.participants.serving and (self.coordinator is None or self.coordinator.serving)
        return HealthCheckResponse(
            status=HealthCheckResponseStatus.SERVING if serving else HealthCheckResponseStatus.NOT_SERVING,
            version=self._version,
            uptime_ms=int((self._clock() - self._started) * 1_000),
        )

    async def get_transaction_status(self, request: TransactionStatusRequest) -> TransactionStatusResponse:
        """Tell what is known of a transaction: by its coordinator here, or else by one of its participants here."""
        field = "TransactionStatusRequest.transaction_id"
        identity = _checked(lambda: required(field, TransactionIdConverter.from_proto, request.transaction_id))
        if identity.coordinator == self.node_id and self.coordinator is not None:
            return await self._coordinated(self.coordinator, identity)
        for participant in self.participants.knowing(identity):
            state = await participant.get_transaction_state(identity)
            if state is not None:
                return TransactionStatusResponse(
                    found=True, state=TransactionStateConverter.to_proto(state), created_at=identity.created_at
                )
        return TransactionStatusResponse()

    @staticmethod
    async def _coordinated(coordinator: CoordinatorPort, identity: TransactionId) -> TransactionStatusResponse:
        try:
            state = await coordinator.get_transaction_state(identity)
        except OrbitError as error:
            raise GRPCError(Status.UNAVAILABLE, str(error)) from error
        report = coordinator.report(identity)
        if report is None:
            return TransactionStatusResponse()
        return TransactionStatusResponse(
            found=True,
            state=TransactionStateConverter.to_proto(state),
            participants=list(map(str, report.participants)),
            created_at=identity.created_at,
            updated_at=report.updated_at,
        )

    # --- delivery --------------------------------------------------------------------------------

    def _elsewhere(self, target: AddressableReference, message: TransactionMessage) -> bool:
        if isinstance(message, (Vote, Acknowledge)) or self._is_for_coordinator(target, message):
            return self.coordinator is None
        return self.participants.find(target) is None

    def _is_for_coordinator(self, target: AddressableReference, message: TransactionMessage) -> bool:
        """A question of a transaction of this node, for whatever actor, unless that one is here."""
        if target.addressable_type == COORDINATOR_TYPE:
            return True
        ours = isinstance(message, QueryStatus) and message.transaction_id.coordinator == self.node_id
        return ours and self.participants.find(target) is None

    async def _deliver(
        self, target: AddressableReference, message: TransactionMessage, sender: NodeId, *, inline: bool
    ) -> TransactionMessageResponse:
        """Deliver and answer; never raises for what the target does."""
        began = self._clock()
        reply: TransactionMessage | None = None
        try:
            reply = await self._dispatch(target, message, sender)
            if not inline and reply is not None:
                await self._answer(reply, sender)
            error = reply.error or "" if isinstance(reply, Acknowledge) and not reply.success else ""
        except OrbitError as failure:
            error = str(failure) or type(failure).__name__
        except Exception:  # noqa: BLE001 - a participant may raise anything; the peer is told that it failed, not how
            _log.exception("%s failed on %s", target, type(message).__name__)
            error = f"{target} failed"
        return TransactionMessageResponse(
            success=not error,
            error_message=error,
            processing_time_ms=int((self._clock() - began) * 1_000),
            reply=TransactionMessageConverter.to_proto(reply) if inline and reply is not None else None,
        )

    async def _dispatch(
        self, target: AddressableReference, message: TransactionMessage, sender: NodeId
    ) -> TransactionMessage | None:
        """Give the message to whom it is for, and return what that says to it."""
        identity = message.transaction_id
        match message:
            case Vote() | Acknowledge():
                await self._coordinator().receive(message, sender)
                return None
            case QueryStatus() if self._is_for_coordinator(target, message):
                return StatusResponse(identity, await self._coordinator().get_transaction_state(identity))
            case QueryStatus():
                state = await self._participant(target).get_transaction_state(identity)
                if state is None:
                    raise TransactionRefused(f"{target} knows nothing of {identity}")
                return StatusResponse(identity, state)
            case Prepare():
                participant = self._participant(target)
                operations = message.narrowed((target,)).operations
                return Vote(identity, target, await participant.prepare(identity, operations, message.timeout))
            case Commit():
                return await _acknowledged(identity, target, self._participant(target).commit(identity))
            case Abort(reason=reason):
                return await _acknowledged(identity, target, self._participant(target).abort(identity, reason))
            case StatusResponse(state=state):
                return await self._told(target, identity, state)

    async def _told(
        self, target: AddressableReference, identity: TransactionId, state: TransactionState
    ) -> TransactionMessage | None:
        """Take a coordinator's answer to a participant's question; one that decides nothing changes nothing."""
        participant = self._participant(target)
        if state.kind.commits:
            return await _acknowledged(identity, target, participant.commit(identity))
        if state.kind.aborts:
            return await _acknowledged(identity, target, participant.abort(identity, state.details or "aborted"))
        return None

    async def _answer(self, reply: TransactionMessage, asker: NodeId) -> None:
        """Send what a sender does not take in the response."""
        if self._sender is None:
            raise TransactionRefused(f"{self.node_id} has no sender to answer with")
        if not isinstance(reply, StatusResponse):
            node = reply.transaction_id.coordinator
            await self._sender.send_message(coordinator_of(node), reply, node=node)
            return
        # Who asked is not said; those who take part are known, and to tell them all is harmless.
        report = None if self.coordinator is None else self.coordinator.report(reply.transaction_id)
        if report is None:
            raise TransactionRefused(f"{reply.transaction_id} is {reply.state}, and nobody here knows whom to tell")
        await self._sender.broadcast_message(report.participants, reply)

    def _participant(self, target: AddressableReference) -> TransactionParticipant:
        participant = self.participants.find(target)
        if participant is None:
            raise TransactionRefused(f"there is no {target} on {self.node_id}")
        return participant

    def _coordinator(self) -> CoordinatorPort:
        if self.coordinator is None:
            raise TransactionRefused(f"{self.node_id} coordinates no transactions")
        return self.coordinator

    def __repr__(self) -> str:
        return f"<TransactionService of {self.node_id}, {self.participants!r}>"


async def _acknowledged(identity: TransactionId, target: AddressableReference, order: Awaitable[None]) -> Acknowledge:
    """Carry out a decision; only a refusal for good is an acknowledgement that says so."""
    try:
        await order
    except TransactionRefused as error:
        return Acknowledge(identity, as_text(target), success=False, error=str(error))
    return Acknowledge(identity, as_text(target))


def _read(request: Any) -> tuple[NodeId, TransactionMessage]:
    """Return who sends, and what."""
    name = type(request).__name__
    sender = _checked(lambda: built(f"{name}.sender_node_id", lambda: NodeId.parse(request.sender_node_id)))
    message = _checked(lambda: required(f"{name}.message", TransactionMessageConverter.from_proto, request.message))
    return sender, message


def _target(message: Target) -> AddressableReference:
    return _checked(lambda: TargetConverter.from_proto(message))


def _checked(read: Callable[[], T]) -> T:
    try:
        return read()
    except DecodeError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
