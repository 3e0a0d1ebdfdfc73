"""The coordinator of two-phase commit: messages and time in, records and messages out.

No I/O, no clock, no chance. *Theory of operation* (presumed abort, after Mohan, Lindsay and Obermarck, 1986):

A transaction collects operations, asks every participant to prepare, and commits if all vote yes. That decision is a
record in the log before anybody hears of it, and stays there until everybody has carried it out. An abort leaves no
record: a transaction that nobody knows is aborted, so a coordinator that crashes before its decision has aborted, and
whoever asks is told so. Both decisions are repeated until they are acknowledged; after a crash those in the log are.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from orbit_net.errors import TransactionRefused
from orbit_net.transactions.identity import as_text
from orbit_net.transactions.messages import Abort, StateKind, TransactionState, VoteKind
from orbit_net.transactions.records import Decided, DecisionRecord, Failed, Finished
from orbit_net.transactions.step import News, Outgoing, Step
from orbit_net.transactions.transaction import Event, Phase, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import Acknowledge, TransactionOperation, Vote
    from orbit_net.transactions.settings import TransactionConfig

__all__ = ["CoordinatorCore", "CoordinatorStep"]

CoordinatorStep: TypeAlias = Step[DecisionRecord]

_SUPERSEDED: Final = 256
"""Timers that count no more and are kept, beside one for each transaction, until they are cleared away."""
_REMEMBERED: Final = 1_000
"""Ended transactions whose end can still be asked for."""


class CoordinatorCore:
    """All transactions that one node coordinates; ``now`` is any clock in seconds that does not go back.

    What a method returns is to be done as :class:`Step` says. ``transactions`` are those that are not ended.
    """

    def __init__(self, node: NodeId, config: TransactionConfig) -> None:
        self.node = node
        self.config = config
        self.transactions: OrderedDict[TransactionId, Transaction] = OrderedDict()
        self.ended: OrderedDict[TransactionId, Transaction] = OrderedDict()
        self._timers: list[tuple[float, int, Transaction]] = []
        self._order = count()

    # --- its owner -------------------------------------------------------------------------------

    def begin(self, transaction_id: TransactionId, now: float, timeout: float | None = None) -> None:
        """Know a new transaction, whose votes may take ``timeout`` seconds.

        Raises :class:`TransactionRefused` for the id of another node, one that is known, and one too many.
        """
        self._own(transaction_id)
        if transaction_id in self.transactions or transaction_id in self.ended:
            raise TransactionRefused(f"the transaction {transaction_id} is known already")
        self._make_room()
        config = self.config
        chosen = config.timeout if timeout is None else timeout
        self._add(Transaction(transaction_id, timeout=chosen, deadline=now + config.idle_timeout, now=now))

    def add_operation(self, transaction_id: TransactionId, operation: TransactionOperation) -> None:
        """Add one operation. Raises :class:`TransactionRefused` once it is being committed, and beyond the limit."""
        transaction = self._known(transaction_id)
        if transaction.phase is not Phase.ACTIVE:
            raise TransactionRefused(f"the transaction {transaction_id} is {transaction.phase.value} already")
        if len(transaction.operations) >= self.config.max_operations:
            raise TransactionRefused(f"the transaction {transaction_id} has {self.config.max_operations} operations")
        if operation.operation_id in transaction.operations:
            raise TransactionRefused(f"the operation {operation.operation_id!r} is there already")
        name = as_text(operation.target)
        known = transaction.participants.setdefault(name, operation.target)
        if known != operation.target:
            text = (
                f"{known.key!r} and {operation.target.key!r} of {name.addressable_type} are the same in a transaction"
            )
            raise TransactionRefused(f"{text}: both are {str(name.key)!r}")
        transaction.operations[operation.operation_id] = operation

    def commit(self, transaction_id: TransactionId, now: float) -> CoordinatorStep:
        """Ask the participants. Raises :class:`TransactionRefused` without operations, and at the second time."""
        transaction = self._known(transaction_id)
        if not transaction.operations:
            raise TransactionRefused(f"the transaction {transaction_id} has no operations")
        transaction.enter(Event.ASKED, now)
        transaction.deadline = now + transaction.timeout
        return Step(now=(self._tell(transaction, transaction.participants, now),))

    def abort(self, transaction_id: TransactionId, reason: str, now: float) -> CoordinatorStep:
        """Give a transaction up. Raises :class:`TransactionRefused` once it is decided to commit."""
        transaction = self._known(transaction_id)
        if transaction.phase is Phase.ABORTING:
            return Step()
        return self._abort(transaction, Event.DROPPED, reason, now)

    # --- its participants ------------------------------------------------------------------------

    def vote(self, vote: Vote, now: float, *, sender: NodeId | None = None) -> CoordinatorStep:
        """Take a vote that came from the node ``sender``.

        Raises :class:`TransactionRefused` from one who takes no part, or was not asked.
        """
        transaction = self._find(vote.transaction_id)
        yes = vote.vote.kind is VoteKind.YES
        if transaction is None:
            ended = self.ended.get(vote.transaction_id)
            if not yes or (ended is not None and ended.phase is Phase.COMMITTED):
                return Step()
            reason = "its coordinator does not know the transaction: presumed aborted"
            return Step(after=(Outgoing(Abort(vote.transaction_id, reason), (vote.participant,), sender),))
        name = self._participant(transaction, vote.participant)
        if transaction.phase is Phase.ACTIVE:
            raise TransactionRefused(f"{name} was not asked to prepare {vote.transaction_id}")
        if transaction.phase is Phase.ABORTING and yes:
            transaction.waiting[name] = transaction.participants[name]
            return Step(now=(Outgoing(transaction.message(), (transaction.participants[name],)),))
        if transaction.phase is not Phase.PREPARING or vote.vote.kind is VoteKind.UNCERTAIN:
            return Step()
        if not yes:
            transaction.vetoes.add(name)
            return self._abort(transaction, Event.VETOED, f"{name} votes {vote.vote}", now)
        transaction.waiting.pop(name, None)
        return Step() if transaction.waiting else self._decide(transaction, now)

    def acknowledge(self, acknowledge: Acknowledge, now: float) -> CoordinatorStep:
        """Take an acknowledgement. Raises :class:`TransactionRefused` from one who takes no part."""
        transaction = self._find(acknowledge.transaction_id)
        if transaction is None:
            return Step()
        name = self._participant(transaction, acknowledge.participant)
        if transaction.phase not in (Phase.COMMITTING, Phase.ABORTING) or name not in transaction.waiting:
            return Step()
        del transaction.waiting[name]
        if not acknowledge.success:
            transaction.refusals[name] = acknowledge.error or "no reason given"
        return Step() if transaction.waiting else self._finish(transaction, now)

    def undelivered(
        self, transaction_id: TransactionId, participant: AddressableReference, reason: str, now: float
    ) -> CoordinatorStep:
        """Take notice that a message did not reach a participant, retries included: before the decision, abort."""
        transaction = self._find(transaction_id)
        if transaction is None or transaction.phase is not Phase.PREPARING:
            return Step()
        if as_text(participant) not in transaction.waiting:
            return Step()
        return self._abort(transaction, Event.VETOED, f"{participant} cannot be asked: {reason}", now)

    def status(self, transaction_id: TransactionId) -> TransactionState:
        """Return how a transaction stands; one that is not known is aborted. Raises for the id of another node.

        To be told to others as a message of :attr:`Step.after` is.
        """
        self._own(transaction_id)
        transaction = self.look(transaction_id)
        if transaction is None:
            return TransactionState(StateKind.ABORTED, "the coordinator does not know it: presumed aborted")
        return transaction.state

    def look(self, transaction_id: TransactionId) -> Transaction | None:
        """Return a transaction that is not ended, or ended lately."""
        return self.transactions.get(transaction_id) or self.ended.get(transaction_id)

    # --- time, and what was before ---------------------------------------------------------------

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, or None while there is nothing."""
        timers = self._timers
        while timers and not self._counts(timers[0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def _counts(self, timer: tuple[float, int, Transaction]) -> bool:
        """Whether a timer is not superseded by a later one, or by the end of its transaction."""
        due, _, transaction = timer
        return transaction.due == due and transaction.id in self.transactions

    def _set_timer(self, transaction: Transaction) -> None:
        heapq.heappush(self._timers, (transaction.due, next(self._order), transaction))
        # Those of a minute hence would hold what has ended long ago.
        if len(self._timers) > 2 * len(self.transactions) + _SUPERSEDED:
            self._timers = [timer for timer in self._timers if self._counts(timer)]
            heapq.heapify(self._timers)

    def tick(self, now: float) -> CoordinatorStep:
        """Let time pass: give up what is late, and repeat what was not answered."""
        messages: list[Outgoing] = []
        decisions: list[Outgoing] = []
        news: list[News] = []
        while (due := self.due()) is not None and due <= now:
            _, _, transaction = heapq.heappop(self._timers)
            if transaction.phase in (Phase.ACTIVE, Phase.PREPARING) and transaction.deadline <= now:
                transaction.timed_out = True
                step = self._abort(transaction, Event.LATE, self._lateness(transaction), now)
                messages += step.now
                news += step.news
            else:
                # The decision may not be durable yet.
                (decisions if transaction.phase is Phase.COMMITTING else messages).append(transaction.outgoing())
                self._again(transaction, now)
        return Step(now=tuple(messages), after=tuple(decisions), news=tuple(news))

    def _lateness(self, transaction: Transaction) -> str:
        if transaction.phase is Phase.ACTIVE:
            return f"it was not committed within {self.config.idle_timeout:g} s"
        return f"no vote of {', '.join(map(str, transaction.waiting))} within {transaction.timeout:g} s"

    def recover(self, records: Iterable[Decided | Failed], now: float) -> CoordinatorStep:
        """Go on with what the log holds: tell the participants of each decision again."""
        messages = []
        for record in records:
            transaction = Transaction(record.transaction_id, timeout=0.0, deadline=now, now=now)
            if isinstance(record, Failed):
                transaction.phase = Phase.COMMITTED
                transaction.failure = record.reason
                self._remember(transaction)
                continue
            transaction.phase = Phase.COMMITTING
            transaction.participants = {as_text(reference): reference for reference in record.participants}
            self._add(transaction)
            messages.append(self._tell(transaction, transaction.participants, now))
        return Step(now=tuple(messages))

    # --- decisions -------------------------------------------------------------------------------

    def _decide(self, transaction: Transaction, now: float) -> CoordinatorStep:
        """Commit: persist it, then say it."""
        transaction.enter(Event.AGREED, now)
        return Step(
            records=(Decided(transaction.id, tuple(transaction.participants.values())),),
            after=(self._tell(transaction, transaction.participants, now),),
            news=(News(transaction.id, transaction.state, final=False),),
        )

    def _abort(self, transaction: Transaction, event: Event, reason: str, now: float) -> CoordinatorStep:
        transaction.enter(event, now)
        transaction.reason = reason
        prepared = {
            name: reference for name, reference in transaction.participants.items() if name not in transaction.vetoes
        }
        if transaction.phase is Phase.ABORTED or not prepared:
            return self._finish(transaction, now)
        message = self._tell(transaction, prepared, now)
        return Step(now=(message,), news=(News(transaction.id, transaction.state, final=False),))

    def _finish(self, transaction: Transaction, now: float) -> CoordinatorStep:
        """All have done what they were told, or never will: forget it."""
        commits = transaction.phase is Phase.COMMITTING
        if transaction.phase is not Phase.ABORTED:
            transaction.enter(Event.DONE, now)
        transaction.waiting.clear()
        del self.transactions[transaction.id]
        self._remember(transaction)
        lazy: tuple[DecisionRecord, ...] = ()
        if commits and transaction.refusals:
            transaction.failure = "; ".join(f"{name}: {reason}" for name, reason in transaction.refusals.items())
            lazy = (Failed(transaction.id, transaction.failure),)
        elif commits:
            lazy = (Finished(transaction.id),)
        return Step(news=(News(transaction.id, transaction.state, final=True),), lazy=lazy)

    def _remember(self, transaction: Transaction) -> None:
        transaction.operations.clear()
        self.ended[transaction.id] = transaction
        if len(self.ended) > _REMEMBERED:
            self.ended.popitem(last=False)

    # --- telling ---------------------------------------------------------------------------------

    def _tell(
        self, transaction: Transaction, whom: Mapping[AddressableReference, AddressableReference], now: float
    ) -> Outgoing:
        transaction.waiting = dict(whom)
        transaction.delay = self.config.resend_initial / 2
        self._again(transaction, now)
        return transaction.outgoing()

    def _again(self, transaction: Transaction, now: float) -> None:
        transaction.delay = min(transaction.delay * 2, self.config.resend_max)
        transaction.resend = now + transaction.delay
        self._set_timer(transaction)

    def _add(self, transaction: Transaction) -> None:
        self.transactions[transaction.id] = transaction
        self._set_timer(transaction)

    def _make_room(self) -> None:
        """Have room for one more. What is aborting can be forgotten: those who still wait will ask."""
        if len(self.transactions) < self.config.max_transactions:
            return
        for transaction in self.transactions.values():
            if transaction.phase is Phase.ABORTING:
                del self.transactions[transaction.id]
                self._remember(transaction)
                return
        raise TransactionRefused(f"{self.config.max_transactions} transactions are under way; try again later")

    # --- finding ---------------------------------------------------------------------------------

    def _own(self, transaction_id: TransactionId) -> None:
        if transaction_id.coordinator != self.node:
            raise TransactionRefused(
                f"{transaction_id} is coordinated by {transaction_id.coordinator}, not {self.node}"
            )

    def _find(self, transaction_id: TransactionId) -> Transaction | None:
        self._own(transaction_id)
        return self.transactions.get(transaction_id)

    def _known(self, transaction_id: TransactionId) -> Transaction:
        transaction = self._find(transaction_id)
        if transaction is not None:
            return transaction
        ended = self.ended.get(transaction_id)
        raise TransactionRefused(
            f"the transaction {transaction_id} is not known" if ended is None else f"{transaction_id} is {ended.state}"
        )

    @staticmethod
    def _participant(transaction: Transaction, reference: AddressableReference) -> AddressableReference:
        name = as_text(reference)
        if name not in transaction.participants:
            raise TransactionRefused(f"{name} takes no part in {transaction.id}")
        return name

    def __repr__(self) -> str:
        return f"<CoordinatorCore {self.node}, {len(self.transactions)} transactions>"
