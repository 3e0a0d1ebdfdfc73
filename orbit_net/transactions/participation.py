"""The participants of two-phase commit on one node: messages and time in, records and messages out.

No I/O, no clock, no chance. *Theory of operation*: a yes is a record before it is said, with the state that the actor
has if the transaction commits; from then on the actor is locked and the transaction in doubt until its coordinator says
how it ends, and who hears nothing asks. What was applied is remembered, so that a late duplicate is not taken for a new
transaction; of each coordinator only the newest are, and whatever is older than the oldest of these is refused.
"""

from __future__ import annotations

import heapq
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orbit_net.errors import TransactionRefused
from orbit_net.transactions.identity import as_text
from orbit_net.transactions.messages import (
    Acknowledge,
    QueryStatus,
    StateKind,
    TransactionState,
    TransactionVote,
    Vote,
    json_of,
)
from orbit_net.transactions.records import Applied, Pruned, Undone, Voted, VoteRecord
from orbit_net.transactions.step import Outgoing, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionOperation
    from orbit_net.transactions.participant import Behaviour
    from orbit_net.transactions.settings import ParticipantConfig

__all__ = ["ParticipantCore", "ParticipantStep", "Standing", "Stored"]

ParticipantStep: TypeAlias = Step[VoteRecord]
Name: TypeAlias = "tuple[AddressableReference, TransactionId]"

_ABORTED: Final = 10_000
"""Aborted transactions that are remembered. Forgetting one is harmless: a late Prepare ends in a question."""


@dataclass(frozen=True)
class Stored:
    """What a log holds: states as JSON, votes without an end, what was applied, and what is too old to be new."""

    states: Mapping[AddressableReference, str] = field(default_factory=dict)
    votes: Sequence[Voted] = ()
    applied: Sequence[Name] = ()
    horizons: Mapping[NodeId, int] = field(default_factory=dict)


class Standing(Enum):
    """How a transaction stands with one actor. PAST is either end, too long ago to tell which."""

    UNKNOWN = "unknown"
    PREPARED = "prepared"
    COMMITTED = "committed"
    ABORTED = "aborted"
    PAST = "over"


class _Order(Enum):
    """What a coordinator can ask for."""

    PREPARE = "prepare"
    COMMIT = "commit"
    ABORT = "abort"


class _Move(Enum):
    """What a participant does about it."""

    DECIDE = "see whether the operations can be done, and vote"
    SAY_YES = "repeat the yes"
    SAY_NO = "it is over: say no"
    APPLY = "make it so"
    UNDO = "drop what was voted for"
    NOTE = "remember that it is aborted, for its Prepare may still come"
    ACKNOWLEDGE = "it is done already"
    REFUSE = "this cannot be"


_MOVES: Final[Mapping[tuple[Standing, _Order], _Move]] = {
    (Standing.UNKNOWN, _Order.PREPARE): _Move.DECIDE,
    (Standing.UNKNOWN, _Order.COMMIT): _Move.REFUSE,
    (Standing.UNKNOWN, _Order.ABORT): _Move.NOTE,
    (Standing.PREPARED, _Order.PREPARE): _Move.SAY_YES,
    (Standing.PREPARED, _Order.COMMIT): _Move.APPLY,
    (Standing.PREPARED, _Order.ABORT): _Move.UNDO,
    (Standing.COMMITTED, _Order.PREPARE): _Move.SAY_YES,
    (Standing.COMMITTED, _Order.COMMIT): _Move.ACKNOWLEDGE,
    (Standing.COMMITTED, _Order.ABORT): _Move.REFUSE,
    (Standing.ABORTED, _Order.PREPARE): _Move.SAY_NO,
    (Standing.ABORTED, _Order.COMMIT): _Move.REFUSE,
    (Standing.ABORTED, _Order.ABORT): _Move.ACKNOWLEDGE,
    (Standing.PAST, _Order.PREPARE): _Move.SAY_NO,
    (Standing.PAST, _Order.COMMIT): _Move.ACKNOWLEDGE,
    (Standing.PAST, _Order.ABORT): _Move.ACKNOWLEDGE,
}

_STATES: Final[Mapping[Standing, StateKind]] = {
    Standing.PREPARED: StateKind.PREPARED,
    Standing.COMMITTED: StateKind.COMMITTED,
    Standing.ABORTED: StateKind.ABORTED,
}


class _Doubt:
    """A transaction that some actors here have voted yes for, and when its coordinator is asked next."""

    __slots__ = ("actors", "ask", "delay", "id")

    def __init__(self, transaction_id: TransactionId, *, ask: float, delay: float) -> None:
        self.id = transaction_id
        self.actors: dict[AddressableReference, None] = {}
        self.ask = ask
        self.delay = delay


class ParticipantCore:
    """All actors of one node that take part; ``now`` is any clock in seconds that does not go back.

    ``behaviours`` by the type of actor; it may grow. What a method returns is to be done as :class:`Step` says: the
    answer to the coordinator is among its messages. Names of actors are in text form everywhere.
    """

    def __init__(self, node: NodeId, config: ParticipantConfig, behaviours: Mapping[str, Behaviour]) -> None:
        self.node = node
        self.config = config
        self.behaviours = behaviours
        self._states: dict[AddressableReference, str] = {}
        self._votes: dict[Name, str] = {}
        self._locks: dict[AddressableReference, TransactionId] = {}
        self._doubts: dict[TransactionId, _Doubt] = {}
        self._applied: dict[NodeId, OrderedDict[Name, None]] = {}
        self._aborted: OrderedDict[Name, str] = OrderedDict()
        self._horizons: dict[NodeId, int] = {}
        self._timers: list[tuple[float, int, _Doubt]] = []
        self._order = count()

    def recover(self, stored: Stored, now: float) -> ParticipantStep:
        """Begin with what the log holds; whoever is in doubt asks at once."""
        self._states = dict(stored.states)
        self._horizons = dict(stored.horizons)
        for name in stored.applied:
            self._applied.setdefault(name[1].coordinator, OrderedDict())[name] = None
        for vote in stored.votes:
            self._hold((vote.actor, vote.transaction_id), vote.state, now, now)
        return self.tick(now)

    # --- what is known ---------------------------------------------------------------------------

    def state(self, actor: AddressableReference) -> Any:
        """Return the state of an actor after what is committed, as a value of the caller's own."""
        actor = as_text(actor)
        text = self._states.get(actor)
        if text is None:
            return self._behaviour(actor).initial(actor)
        return json.loads(text)

    def standing(self, actor: AddressableReference, transaction_id: TransactionId) -> Standing:
        """Return how a transaction stands with an actor."""
        name = (actor, transaction_id)
        coordinator = transaction_id.coordinator
        if name in self._votes:
            return Standing.PREPARED
        if name in self._applied.get(coordinator, ()):
            return Standing.COMMITTED
        if name in self._aborted:
            return Standing.ABORTED
        return Standing.PAST if transaction_id.created_at <= self._horizons.get(coordinator, -1) else Standing.UNKNOWN

    def status(self, actor: AddressableReference, transaction_id: TransactionId) -> TransactionState | None:
        """Return the same for others, or None where nothing is known; to be told as a message of :attr:`Step.after`."""
        kind = _STATES.get(self.standing(as_text(actor), transaction_id))
        return None if kind is None else TransactionState(kind)

    def actors_of(self, transaction_id: TransactionId) -> list[AddressableReference]:
        """Return the actors that know of a transaction."""
        names = (*self._votes, *self._applied.get(transaction_id.coordinator, ()), *self._aborted)
        return [actor for actor, identity in names if identity == transaction_id]

    @property
    def in_doubt(self) -> int:
        """How many transactions wait for their coordinator."""
        return len(self._doubts)

    # --- orders ----------------------------------------------------------------------------------

    def prepare(
        self,
        actor: AddressableReference,
        transaction_id: TransactionId,
        operations: Iterable[TransactionOperation],
        now: float,
    ) -> ParticipantStep:
        """Vote on the operations, all of them for ``actor``."""
        actor = as_text(actor)
        name = (actor, transaction_id)
        match _MOVES[self.standing(actor, transaction_id), _Order.PREPARE]:
            case _Move.DECIDE:
                return self._decide(name, operations, now)
            case _Move.SAY_YES:
                return Step(after=(_vote(name, TransactionVote.yes()),))
            case _:
                reason = self._aborted.get(name, "it is older than what is remembered here")
                return Step(after=(_vote(name, TransactionVote.no(reason)),))

    def commit(self, actor: AddressableReference, transaction_id: TransactionId, now: float) -> ParticipantStep:
        """Apply what was voted for."""
        return self._obey((as_text(actor), transaction_id), _Order.COMMIT, "")

    def abort(
        self, actor: AddressableReference, transaction_id: TransactionId, reason: str, now: float
    ) -> ParticipantStep:
        """Drop what was voted for."""
        return self._obey((as_text(actor), transaction_id), _Order.ABORT, reason or "aborted")

    def told(self, transaction_id: TransactionId, state: TransactionState, now: float) -> ParticipantStep:
        """Take the coordinator's answer to a question; one that decides nothing leaves all as it is."""
        doubt = self._doubts.get(transaction_id)
        if doubt is None or not (state.kind.commits or state.kind.aborts):
            return Step()
        order = _Order.COMMIT if state.kind.commits else _Order.ABORT
        reason = state.details or "its coordinator says so"
        steps = [self._obey((actor, transaction_id), order, reason) for actor in list(doubt.actors)]
        return Step(
            now=tuple(message for step in steps for message in step.now),
            records=tuple(record for step in steps for record in step.records),
            after=tuple(message for step in steps for message in step.after),
            lazy=tuple(record for step in steps for record in step.lazy),
        )

    def _obey(self, name: Name, order: _Order, reason: str) -> ParticipantStep:
        standing = self.standing(*name)
        match _MOVES[standing, order]:
            case _Move.APPLY:
                return self._apply(name)
            case _Move.UNDO:
                self._release(name)
                self._note(name, reason)
                return Step(now=(_acknowledgement(name),), lazy=(Undone(*name),))
            case _Move.NOTE:
                self._note(name, reason)
                return Step(now=(_acknowledgement(name),))
            case _Move.ACKNOWLEDGE:
                return Step(after=(_acknowledgement(name),))
            case _:
                error = f"{name[0]} cannot {order.value} {name[1]}: to it that is {standing.value}"
                return Step(after=(_acknowledgement(name, error),))

    # --- moves -----------------------------------------------------------------------------------

    def _decide(self, name: Name, operations: Iterable[TransactionOperation], now: float) -> ParticipantStep:
        actor, transaction_id = name
        try:
            state = self._try(actor, operations)
        except TransactionRefused as error:
            self._note(name, str(error))
            return Step(after=(_vote(name, TransactionVote.no(str(error))),))
        self._hold(name, state, now, now + self.config.ask_initial)
        return Step(records=(Voted(actor, transaction_id, state),), after=(_vote(name, TransactionVote.yes()),))

    def _try(self, actor: AddressableReference, operations: Iterable[TransactionOperation]) -> str:
        """Return the state after the operations. Raises :class:`TransactionRefused`."""
        operations = list(operations)
        if not operations:
            raise TransactionRefused(f"there is no operation for {actor}")
        if actor in self._locks:
            raise TransactionRefused(f"{actor} is locked by {self._locks[actor]}")
        behaviour, state = self._behaviour(actor), self.state(actor)
        try:
            for operation in operations:
                state = behaviour.apply(state, operation)
            return json_of("the state", state)
        except TransactionRefused:
            raise
        except Exception as error:
            raise TransactionRefused(f"{actor} failed: {error!r}") from error

    def _behaviour(self, actor: AddressableReference) -> Behaviour:
        behaviour = self.behaviours.get(actor.addressable_type)
        if behaviour is None:
            raise TransactionRefused(f"no actor of the type {actor.addressable_type!r} takes part here")
        return behaviour

    def _apply(self, name: Name) -> ParticipantStep:
        actor, transaction_id = name
        self._states[actor] = self._release(name)
        applied = self._applied.setdefault(transaction_id.coordinator, OrderedDict())
        applied[name] = None
        lazy: tuple[VoteRecord, ...] = ()
        if len(applied) > self.config.remembered:
            lazy = (self._prune(transaction_id.coordinator),)
        return Step(records=(Applied(actor, transaction_id),), after=(_acknowledgement(name),), lazy=lazy)

    def _prune(self, coordinator: NodeId) -> Pruned:
        """Forget the older half; from now on nothing so old is taken for new."""
        applied = self._applied[coordinator]
        ages = sorted(transaction_id.created_at for _, transaction_id in applied)
        horizon = ages[len(ages) // 2]
        self._horizons[coordinator] = max(horizon, self._horizons.get(coordinator, horizon))
        self._applied[coordinator] = OrderedDict((name, None) for name in applied if name[1].created_at > horizon)
        return Pruned(coordinator, horizon)

    def _note(self, name: Name, reason: str) -> None:
        self._aborted[name] = reason
        if len(self._aborted) > _ABORTED:
            self._aborted.popitem(last=False)

    # --- doubt -----------------------------------------------------------------------------------

    def _hold(self, name: Name, state: str, now: float, ask: float) -> None:
        """Lock the actor until the coordinator says how it ends."""
        actor, transaction_id = name
        self._votes[name] = state
        self._locks[actor] = transaction_id
        doubt = self._doubts.get(transaction_id)
        if doubt is None:
            doubt = _Doubt(transaction_id, ask=ask, delay=self.config.ask_initial)
            self._doubts[transaction_id] = doubt
            heapq.heappush(self._timers, (doubt.ask, next(self._order), doubt))
        doubt.actors[actor] = None

    def _release(self, name: Name) -> str:
        """Unlock the actor, and return the state that was voted for."""
        actor, transaction_id = name
        del self._locks[actor]
        doubt = self._doubts[transaction_id]
        del doubt.actors[actor]
        if not doubt.actors:
            del self._doubts[transaction_id]
        return self._votes.pop(name)

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, or None while there is nothing."""
        timers = self._timers
        while timers and not timers[0][2].actors:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def tick(self, now: float) -> ParticipantStep:
        """Let time pass: ask the coordinators of what is in doubt."""
        questions = []
        while (due := self.due()) is not None and due <= now:
            doubt = heapq.heappop(self._timers)[2]
            questions.append(Outgoing(QueryStatus(doubt.id), node=doubt.id.coordinator))
            doubt.ask = now + doubt.delay
            doubt.delay = min(doubt.delay * 2, self.config.ask_max)
            heapq.heappush(self._timers, (doubt.ask, next(self._order), doubt))
        return Step(now=tuple(questions))

    def __repr__(self) -> str:
        return f"<ParticipantCore {self.node}, {len(self._states)} actors, {len(self._doubts)} in doubt>"


def _vote(name: Name, vote: TransactionVote) -> Outgoing:
    return Outgoing(Vote(name[1], name[0], vote), node=name[1].coordinator)


def _acknowledgement(name: Name, error: str | None = None) -> Outgoing:
    return Outgoing(Acknowledge(name[1], name[0], error is None, error), node=name[1].coordinator)
