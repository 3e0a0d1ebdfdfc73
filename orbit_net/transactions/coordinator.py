"""The coordinator of transactions: its core, its log, and its messages."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from orbit_net.context import detached
from orbit_net.errors import (
    ConfigurationError,
    OrbitError,
    StorageError,
    TransactionInDoubt,
    TransactionRefused,
)
from orbit_net.transactions.coordination import CoordinatorCore
from orbit_net.transactions.delivery import BroadcastResult, Delivery
from orbit_net.transactions.identity import TransactionId
from orbit_net.transactions.log import MemoryLog
from orbit_net.transactions.messages import Abort, Acknowledge, Prepare, Vote
from orbit_net.transactions.open_transaction import OpenTransaction
from orbit_net.transactions.report import Report
from orbit_net.transactions.settings import TransactionConfig
from orbit_net.transactions.step import Step
from orbit_net.transactions.timekeeper import Timekeeper
from orbit_net.transactions.waiting import Waiter
from orbit_net.transactions.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.coordination import CoordinatorStep
    from orbit_net.transactions.delivery import TransactionMessageSender
    from orbit_net.transactions.log import DecisionLog
    from orbit_net.transactions.messages import TransactionOperation, TransactionState
    from orbit_net.transactions.records import DecisionRecord
    from orbit_net.transactions.step import Outgoing

__all__ = ["TransactionCoordinator"]

_log = logging.getLogger("orbit_net.transactions")


class TransactionCoordinator:
    """Commits operations on several actors everywhere or nowhere, whatever crashes meanwhile.

    ``sender`` reaches the participants; votes and acknowledgements come in its answers, or by :meth:`receive`. The
    decisions are kept in ``log``, in memory by default: a log on disk, as :class:`SqliteLog`, is what lets a restarted
    coordinator keep its word. Using it needs ``async with``, whose entering reads the log and tells its decisions
    again; leaving it stops: what is decided is in the log, everything else is aborted by being unknown.

    Example::

        async with coordinator.transaction() as transaction:
            await transaction.add_operation(alice, "debit", {"amount": 100})
            await transaction.add_operation(bob, "credit", {"amount": 100})
    """

    def __init__(
        self,
        node_id: NodeId,
        sender: TransactionMessageSender,
        *,
        log: DecisionLog | None = None,
        config: TransactionConfig | None = None,
        random: Random | None = None,
    ) -> None:
        self.node_id = node_id
        self.config = config or TransactionConfig()
        self.failure: OrbitError | None = None
        self._core = CoordinatorCore(node_id, self.config)
        self._sender = sender
        self._log: DecisionLog = MemoryLog() if log is None else log
        self._writer: Writer[DecisionRecord] = Writer(self._log, self._fail)
        self._time = Timekeeper(self._core.due, self._tick)
        self._random = random
        self._tasks: TaskGroup | None = None
        self._serving = False
        self._begun = 0
        self._waiters: dict[TransactionId, Waiter] = {}
        self._flying: set[tuple[TransactionId, type, AddressableReference]] = set()

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a coordinator can be entered once; make a new one")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        try:
            records = await self._writer.load()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        tasks.start_soon(self._writer.run)
        tasks.start_soon(self._time.run)
        self._serving = True
        if records:
            _log.info("%s goes on with %d decisions", self.node_id, len(records))
        self._do(self._core.recover(records, anyio.current_time()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._serving = False
        self._end(TransactionInDoubt(f"the coordinator {self.node_id} has stopped"))
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._writer.close()

    @property
    def serving(self) -> bool:
        """Whether it has read its log, and the log works."""
        return self._serving and self.failure is None

    @property
    def under_way(self) -> int:
        """How many transactions are not over: some may be decided, and wait for a participant that is down."""
        return len(self._core.transactions)

    def _check(self) -> None:
        if self.failure is not None:
            raise TransactionInDoubt(f"the coordinator {self.node_id} has failed: {self.failure}") from self.failure
        if not self._serving:
            raise ConfigurationError(
                "the coordinator is not open: use it inside 'async with TransactionCoordinator(...)'"
            )

    def _fail(self, error: StorageError) -> None:
        """Say nothing any more: what the log holds is not known, and only it may say how transactions end."""
        self.failure = error
        self._end(TransactionInDoubt(f"the decision log failed: {error}"))

    def _end(self, error: OrbitError) -> None:
        for waiter in self._waiters.values():
            waiter.fail(error)

    # --- owners ----------------------------------------------------------------------------------

    async def begin_transaction(self, *, timeout: float | None = None) -> TransactionId:
        """Begin a transaction, whose votes may take ``timeout`` seconds (the config's without it).

        Raises :class:`TransactionRefused` when too many are under way. Cancellation: none is begun.
        """
        await anyio.lowlevel.checkpoint()
        self._check()
        # Not earlier than the one before, whatever is done to the clock: participants compare these times.
        self._begun = max(self._begun, int(time.time() * 1_000))
        identity = TransactionId.generate(self.node_id, now_ms=self._begun, random=self._random)
        self._core.begin(identity, anyio.current_time(), timeout)
        self._time.look()
        return identity

    async def add_operation(self, transaction_id: TransactionId, operation: TransactionOperation) -> None:
        """Add an operation; nobody is told of it yet.

        Raises :class:`TransactionRefused` once the transaction is being committed or has ended, for an operation id
        that it has, for one operation too many, and for two actors whose keys have the same text. Cancellation: it is
        not added.
        """
        await anyio.lowlevel.checkpoint()
        self._check()
        self._core.add_operation(transaction_id, operation)

    async def commit_transaction(self, transaction_id: TransactionId) -> TransactionState:
        """Commit, and return when all have: COMMITTED, or COMMITTING if some take longer than the config's time.

        Either way it is decided, and those that are missing are told until they have it. Raises
        :class:`TransactionAborted` when nothing of it takes effect, for a participant said no, could not be reached,
        or was late; whoever can be reached has been told by then. Raises :class:`TransactionInDoubt` when the log
        failed or hangs or the coordinator stopped, :class:`TransactionError` when a participant claims that it cannot
        do what it had voted for, and :class:`TransactionRefused` when there is nothing to commit or it was asked
        before.
        Cancellation aborts a transaction that is not decided.
        """
        await anyio.lowlevel.checkpoint()
        self._check()
        step = self._core.commit(transaction_id, anyio.current_time())
        waiter = self._waiters[transaction_id] = Waiter(transaction_id)
        self._do(step)
        try:
            patience = self.config.completion_timeout
            # The core decides in time; only a disk that hangs can take longer.
            with anyio.move_on_after(self._core.transactions[transaction_id].timeout + patience):
                await waiter.decided.wait()
                with anyio.move_on_after(patience):
                    await waiter.finished.wait()
        finally:
            self._waiters.pop(transaction_id, None)
            if not waiter.decided.is_set():
                self._give_up(transaction_id, "its owner was cancelled")
        return waiter.result()

    async def abort_transaction(self, transaction_id: TransactionId, reason: str = "its owner wants it so") -> None:
        """Give a transaction up; those that are prepared are told until they know.

        Raises :class:`TransactionRefused` for one that is decided to commit, or has ended.
        """
        await anyio.lowlevel.checkpoint()
        self._check()
        self._do(self._core.abort(transaction_id, reason, anyio.current_time()))

    @asynccontextmanager
    async def transaction(self, *, timeout: float | None = None) -> AsyncIterator[OpenTransaction]:
        """Begin a transaction that the end of the block commits, and an exception in the block aborts.

        Raises as :meth:`commit_transaction` does; an exception of the block goes on.
        """
        identity = await self.begin_transaction(timeout=timeout)
        opened = OpenTransaction(self, identity)
        try:
            yield opened
        except BaseException:
            self._give_up(identity, "its block was left by an exception")
            raise
        opened.state = await self.commit_transaction(identity)

    def _give_up(self, transaction_id: TransactionId, reason: str) -> None:
        try:
            self._do(self._core.abort(transaction_id, reason, anyio.current_time()))
        except TransactionRefused as error:
            _log.debug("%s", error)

    # --- others ----------------------------------------------------------------------------------

    async def receive(self, message: Vote | Acknowledge, sender: NodeId) -> None:
        """Take what a participant on the node ``sender`` says.

        Raises :class:`TransactionRefused` for what cannot be: from one who takes no part, of another coordinator.
        """
        await anyio.lowlevel.checkpoint()
        self._check()
        self._do(self._hear(message, sender))

    async def get_transaction_state(self, transaction_id: TransactionId) -> TransactionState:
        """Return how a transaction stands, once that is durable; one that is not known is ABORTED.

        Raises :class:`TransactionRefused` for one of another coordinator, :class:`TransactionInDoubt` after a failure.
        """
        self._check()
        state = self._core.status(transaction_id)
        try:
            await self._writer.written(Step())
        except StorageError as error:
            raise TransactionInDoubt(str(error)) from error
        return state

    def report(self, transaction_id: TransactionId) -> Report | None:
        """Return what is known of a transaction that is under way or ended lately."""
        transaction = self._core.look(transaction_id)
        if transaction is None:
            return None
        age = anyio.current_time() - transaction.changed
        updated_at = max(transaction_id.created_at, int((time.time() - age) * 1_000))
        return Report(transaction.state, tuple(transaction.participants), updated_at)

    # --- doing what the core says ----------------------------------------------------------------

    def _tick(self) -> None:
        self._do(self._core.tick(anyio.current_time()))

    def _do(self, step: CoordinatorStep) -> None:
        if not self.serving:
            return
        for outgoing in step.now:
            self._send(outgoing)
        self._writer.submit(step, partial(self._follow, step))
        self._time.look()

    def _follow(self, step: CoordinatorStep) -> None:
        for outgoing in step.after:
            self._send(outgoing)
        for news in step.news:
            waiter = self._waiters.get(news.transaction_id)
            if waiter is not None:
                waiter.hear(news)

    def _send(self, outgoing: Outgoing) -> None:
        """Send to those of the targets that such a message is not on its way to."""
        message = outgoing.message
        flights = {target: (message.transaction_id, type(message), target) for target in outgoing.targets}
        targets = [target for target, flight in flights.items() if flight not in self._flying]
        if targets and self._tasks is not None:
            self._flying.update(flights[target] for target in targets)
            self._tasks.start_soon(self._fly, outgoing, targets)

    async def _fly(self, outgoing: Outgoing, targets: list[AddressableReference]) -> None:
        message = outgoing.message
        identity = message.transaction_id
        timeout = message.timeout if isinstance(message, Prepare) else self.config.resend_max
        try:
            with detached():
                result = await self._sender.broadcast_message(targets, message, node=outgoing.node, timeout=timeout)
        except Exception as error:  # noqa: BLE001 - a sender of others may raise anything; it is told again
            _log.exception("%r failed", self._sender)
            failed = Delivery(error if isinstance(error, OrbitError) else OrbitError(repr(error)))
            result = BroadcastResult(dict.fromkeys(targets, failed))
        finally:
            self._flying.difference_update((identity, type(message), target) for target in targets)
        waiter = self._waiters.get(identity)
        if waiter is not None and isinstance(message, Abort):
            waiter.finished.set()  # whoever could be reached has it
        for target, delivery in result.deliveries.items():
            if isinstance(delivery.reply, (Vote, Acknowledge)):
                self._take(partial(self._hear, delivery.reply, outgoing.node))
            elif delivery.error is not None:
                now = anyio.current_time()
                self._take(partial(self._core.undelivered, identity, target, str(delivery.error), now))

    def _hear(self, message: Vote | Acknowledge, sender: NodeId | None) -> CoordinatorStep:
        now = anyio.current_time()
        if isinstance(message, Vote):
            return self._core.vote(message, now, sender=sender)
        return self._core.acknowledge(message, now)

    def _take(self, listen: Any) -> None:
        """Do what follows from an answer; one that cannot be is noted and left at that."""
        try:
            self._do(listen())
        except TransactionRefused as error:
            _log.warning("%s", error)

    def __repr__(self) -> str:
        state = "failed" if self.failure is not None else "serving" if self._serving else "closed"
        return f"<TransactionCoordinator {self.node_id} {state}, {len(self._core.transactions)} transactions>"
