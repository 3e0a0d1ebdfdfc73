"""Participants whose votes and states are durable: their core, their log, and their questions."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from orbit_net.context import detached
from orbit_net.errors import ClusterError, ConfigurationError, StorageError, TransactionRefused
from orbit_net.transactions.delivery import coordinator_of
from orbit_net.transactions.identity import as_text
from orbit_net.transactions.log import MemoryVoteLog
from orbit_net.transactions.messages import Acknowledge, StatusResponse, Vote
from orbit_net.transactions.participation import ParticipantCore
from orbit_net.transactions.settings import ParticipantConfig
from orbit_net.transactions.step import Step
from orbit_net.transactions.timekeeper import Timekeeper
from orbit_net.transactions.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.delivery import TransactionMessageSender
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.log import VoteLog
    from orbit_net.transactions.messages import (
        TransactionMessage,
        TransactionOperation,
        TransactionState,
        TransactionVote,
    )
    from orbit_net.transactions.participant import Behaviour
    from orbit_net.transactions.participation import ParticipantStep
    from orbit_net.transactions.records import VoteRecord
    from orbit_net.transactions.step import Outgoing

__all__ = ["DurableParticipant", "DurableParticipants"]

_log = logging.getLogger("orbit_net.transactions")

_PATIENCE = 5.0
"""Seconds that one question or one acknowledgement may take; it is said again later."""


class DurableParticipants:
    """The actors of one node that take part in transactions, each a :class:`Behaviour` and a state in ``log``.

    An actor is locked from its yes to the end of the transaction; another transaction that wants it meanwhile gets a no
    at once, so nothing ever waits in a circle. Those in doubt ask their coordinators by ``sender``, at the start and
    whenever they hear nothing; without one they wait to be told. The log is in memory by default. Using it needs
    ``async with``, whose entering reads the log.
    """

    def __init__(
        self,
        node_id: NodeId,
        sender: TransactionMessageSender | None = None,
        *,
        log: VoteLog | None = None,
        config: ParticipantConfig | None = None,
    ) -> None:
        self.node_id = node_id
        self.config = config or ParticipantConfig()
        self.failure: StorageError | None = None
        self._behaviours: dict[str, Behaviour] = {}
        self._core = ParticipantCore(node_id, self.config, self._behaviours)
        self._sender = sender
        self._log: VoteLog = MemoryVoteLog() if log is None else log
        self._writer: Writer[VoteRecord] = Writer(self._log, self._fail)
        self._time = Timekeeper(self._core.due, self._tick)
        self._tasks: TaskGroup | None = None
        self._serving = False
        self._flying: set[tuple[type, TransactionId, AddressableReference | None]] = set()
        self._missing: set[NodeId] = set()

    def register(self, actor_type: str, behaviour: Behaviour) -> None:
        """Have the actors of a type take part. Raises :class:`ConfigurationError` for a type that is registered."""
        if actor_type in self._behaviours:
            raise ConfigurationError(f"the type {actor_type!r} is registered already")
        self._behaviours[actor_type] = behaviour

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("participants can be entered once; make new ones")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        try:
            stored = await self._writer.load()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        tasks.start_soon(self._writer.run)
        tasks.start_soon(self._time.run)
        self._serving = True
        if stored.votes:
            _log.info("%s is in doubt of %d votes", self.node_id, len(stored.votes))
        self._do(self._core.recover(stored, anyio.current_time()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._serving = False
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._writer.close()

    def _check(self) -> None:
        if self.failure is not None:
            raise StorageError(f"the participants of {self.node_id} have failed: {self.failure}") from self.failure
        if not self._serving:
            raise ConfigurationError("the participants are not open: use them inside 'async with'")

    def _fail(self, error: StorageError) -> None:
        self.failure = error

    # --- actors ----------------------------------------------------------------------------------

    def find(self, reference: AddressableReference) -> DurableParticipant | None:
        """Return the actor with this name, or None where its type is not registered."""
        return DurableParticipant(self, reference) if reference.addressable_type in self._behaviours else None

    def knowing(self, transaction_id: TransactionId) -> Iterator[DurableParticipant]:
        """Yield the actors that know of a transaction."""
        for actor in self._core.actors_of(transaction_id):
            yield DurableParticipant(self, actor)

    @property
    def serving(self) -> bool:
        """Whether the log is read, and works."""
        return self._serving and self.failure is None

    def state(self, reference: AddressableReference) -> Any:
        """Return the state of an actor after what is committed: a value of the caller's own.

        Raises :class:`TransactionRefused` where its type is not registered.
        """
        return self._core.state(reference)

    @property
    def in_doubt(self) -> int:
        """How many transactions wait for their coordinator."""
        return self._core.in_doubt

    async def prepare(
        self, actor: AddressableReference, transaction_id: TransactionId, operations: Sequence[TransactionOperation]
    ) -> TransactionVote:
        """Have an actor vote; a yes is durable when this returns."""
        self._check()
        reply = await self._said(self._core.prepare(actor, transaction_id, operations, anyio.current_time()))
        assert isinstance(reply, Vote)
        return reply.vote

    async def commit(self, actor: AddressableReference, transaction_id: TransactionId) -> None:
        """Have an actor commit; it is durable when this returns."""
        self._check()
        _carried_out(await self._said(self._core.commit(actor, transaction_id, anyio.current_time())))

    async def abort(self, actor: AddressableReference, transaction_id: TransactionId, reason: str) -> None:
        """Have an actor abort."""
        self._check()
        _carried_out(await self._said(self._core.abort(actor, transaction_id, reason, anyio.current_time())))

    async def status(self, actor: AddressableReference, transaction_id: TransactionId) -> TransactionState | None:
        """Return how a transaction stands with an actor, once that is durable."""
        self._check()
        state = self._core.status(actor, transaction_id)
        await self._writer.written(Step())
        return state

    # --- doing what the core says ----------------------------------------------------------------

    async def _said(self, step: ParticipantStep) -> TransactionMessage:
        """Do a step, and return its one message to the coordinator, which the caller delivers."""
        self._time.look()
        if step.now:
            self._writer.submit(step, _nothing)
            await anyio.lowlevel.checkpoint()
            [outgoing] = step.now
        else:
            await self._writer.written(step)
            [outgoing] = step.after
        return outgoing.message

    def _tick(self) -> None:
        self._do(self._core.tick(anyio.current_time()))

    def _do(self, step: ParticipantStep) -> None:
        if self.failure is not None:
            return
        for outgoing in step.now:
            self._send(outgoing)
        self._writer.submit(step, partial(self._follow, step))
        self._time.look()

    def _follow(self, step: ParticipantStep) -> None:
        for outgoing in step.after:
            self._send(outgoing)

    def _send(self, outgoing: Outgoing) -> None:
        """Send to a coordinator, unless the same is on its way."""
        message = outgoing.message
        flight = (type(message), message.transaction_id, getattr(message, "participant", None))
        if self._sender is None or self._tasks is None or outgoing.node is None or flight in self._flying:
            return
        self._flying.add(flight)
        self._tasks.start_soon(self._fly, self._sender, outgoing.node, message, flight)

    async def _fly(
        self,
        sender: TransactionMessageSender,
        node: NodeId,
        message: TransactionMessage,
        flight: tuple[type, TransactionId, AddressableReference | None],
    ) -> None:
        try:
            with detached():
                reply = await sender.send_message(coordinator_of(node), message, node=node, timeout=_PATIENCE)
        except Exception as error:  # noqa: BLE001 - whatever a sender raises, it is said again later
            self._not_reached(node, message, error)
            return
        finally:
            self._flying.discard(flight)
        self._missing.discard(node)
        if isinstance(reply, StatusResponse):
            self._do(self._core.told(reply.transaction_id, reply.state, anyio.current_time()))

    def _not_reached(self, node: NodeId, message: TransactionMessage, error: Exception) -> None:
        """Note it. One that the directory does not know is not down but missing: somebody has to know, once."""
        missing = isinstance(error, ClusterError) and node not in self._missing
        if missing:
            self._missing.add(node)
        level = logging.WARNING if missing else logging.DEBUG
        _log.log(level, "%s did not reach %s: %r", type(message).__name__, node, error)

    def __repr__(self) -> str:
        state = "failed" if self.failure is not None else "serving" if self._serving else "closed"
        types = ", ".join(sorted(self._behaviours)) or "no type"
        return f"<DurableParticipants of {self.node_id} {state}: {types}; {self._core.in_doubt} in doubt>"


class DurableParticipant:
    """One actor of :class:`DurableParticipants`, as a :class:`TransactionParticipant`.

    All methods raise :class:`StorageError` when the log has failed: the order was not carried out, or may have been.
    """

    __slots__ = ("_owner", "reference")

    def __init__(self, owner: DurableParticipants, reference: AddressableReference) -> None:
        self._owner = owner
        self.reference = as_text(reference)

    @property
    def state(self) -> Any:
        """The state after what is committed."""
        return self._owner.state(self.reference)

    async def prepare(
        self, transaction_id: TransactionId, operations: Sequence[TransactionOperation], timeout: float
    ) -> TransactionVote:
        """Vote: yes if the behaviour takes all operations and the actor is not locked."""
        return await self._owner.prepare(self.reference, transaction_id, operations)

    async def commit(self, transaction_id: TransactionId) -> None:
        """Apply what was voted for. Raises :class:`TransactionRefused` for what was never voted for, or is aborted."""
        await self._owner.commit(self.reference, transaction_id)

    async def abort(self, transaction_id: TransactionId, reason: str) -> None:
        """Drop what was voted for. Raises :class:`TransactionRefused` for what is committed."""
        await self._owner.abort(self.reference, transaction_id, reason)

    async def get_transaction_state(self, transaction_id: TransactionId) -> TransactionState | None:
        """Return PREPARED, COMMITTED or ABORTED, or None for a transaction that is not known, or not any more."""
        return await self._owner.status(self.reference, transaction_id)

    def __repr__(self) -> str:
        return f"<DurableParticipant {self.reference} of {self._owner.node_id}>"


def _carried_out(message: TransactionMessage) -> None:
    assert isinstance(message, Acknowledge)
    if not message.success:
        raise TransactionRefused(message.error or "no reason given")


def _nothing() -> None:
    """Nothing follows."""
