"""The one task that owns a core: it feeds it, and does what it says."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from orbit_net.errors import InternalError, OutcomeUnknown, ProposalDropped, RaftError, StorageError
from orbit_net.raft.commands import decode_command
from orbit_net.raft.messages import Role, Snapshot
from orbit_net.raft.waiting import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from orbit_net.raft.core import RaftCore
    from orbit_net.raft.machine import StateMachine
    from orbit_net.raft.messages import Entry, Message, Ready
    from orbit_net.raft.settings import RaftConfig
    from orbit_net.raft.storage import Storage
    from orbit_net.raft.waiting import Waiter

__all__ = ["Driver"]

_log = logging.getLogger("orbit_net.raft")

_INBOX: Final = 4_096
"""Messages and intentions that wait for the next turn; beyond it messages are dropped and intentions refused."""


class Driver:
    """Turns: take in what came, let time pass, do what the core says. Everything but :meth:`run` returns at once.

    ``send`` takes messages to other nodes; ``changed`` is called after each turn. The first error of the storage or of
    an invariant ends the driver: ``failure`` has it, and all who wait get it.
    """

    def __init__(
        self,
        core: RaftCore,
        storage: Storage,
        machine: StateMachine,
        config: RaftConfig,
        *,
        send: Callable[[Message], None],
        changed: Callable[[], None],
    ) -> None:
        self.core = core
        self.failure: Exception | None = None
        self.turns = 0
        self.waiters = Waiters()
        self._storage = storage
        self._machine = machine
        self._config = config
        self._send = send
        self._changed = changed
        self._messages: deque[Message] = deque()
        self._intentions: deque[tuple[Callable[[], None], Waiter | None]] = deque()
        self._tick_due = False
        self._wake = anyio.Event()
        self._jobs: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._job_wake = anyio.Event()
        self._compacting = False
        self._scope: anyio.CancelScope | None = None

    # --- what others ask -------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Take a message from another node, or drop it when too many wait."""
        if len(self._messages) < _INBOX:
            self._messages.append(message)
            self._wake.set()

    def intend(self, action: Callable[[], None], waiter: Waiter | None = None) -> None:
        """Run ``action`` in the next turn; what it raises as a :class:`RaftError` goes to ``waiter``.

        Raises :class:`ProposalDropped` when too many wait, and what ended the driver.
        """
        if self.failure is not None:
            raise RaftError(f"this node has stopped: {self.failure}") from self.failure
        if len(self._intentions) >= _INBOX:
            raise ProposalDropped(f"{_INBOX} intentions wait already; try again later")
        self._intentions.append((action, waiter))
        self._wake.set()

    # --- turns -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take turns until cancelled or failed. Never raises for what happens to the storage or comes from others."""
        try:
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                self._start(tasks)
                while True:
                    await self._wake.wait()
                    self._wake = anyio.Event()
                    self._turn()
        finally:
            self.waiters.fail_all(self.failure or OutcomeUnknown("this node has stopped"))

    def _start(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self._tick)
        if self._storage.blocking:
            tasks.start_soon(self._write)

    async def _tick(self) -> None:
        """Let time pass. However late it is, no more than one tick is due: a stall of our own is not silence."""
        due = anyio.current_time()
        while True:
            due = max(due + self._config.tick, anyio.current_time())
            await anyio.sleep_until(due)
            self._tick_due = True
            self._wake.set()

    def _turn(self) -> None:
        try:
            self.turns += 1
            messages, self._messages = self._messages, deque()
            for message in messages:
                self.core.step(message)
            self._run_intentions()
            if self._tick_due:
                self._tick_due = False
                self.core.tick()
            while self.core.has_ready:
                self._obey(self.core.ready())
            self._compact()
            self._changed()
        except (StorageError, InternalError) as error:
            self._fail(error)

    def _run_intentions(self) -> None:
        intentions, self._intentions = self._intentions, deque()
        for action, waiter in intentions:
            try:
                action()
            except RaftError as error:
                if waiter is not None:
                    waiter.fail(error)

    def _fail(self, error: Exception) -> None:
        _log.error("%r stops: %s", self.core, error)
        self.failure = error
        for _, waiter in self._intentions:
            if waiter is not None:
                waiter.fail(error)
        if self._scope is not None:
            self._scope.cancel()
        self._changed()

    # --- what the core says ----------------------------------------------------------------------

    def _obey(self, ready: Ready) -> None:
        for message in ready.messages:
            self._send(message)
        if ready.persists:
            self._persist(ready)
        else:
            self._send_all(ready.messages_after_persist)
        if ready.snapshot is not None:
            self._machine.restore(ready.snapshot.data)
            self.waiters.skip_to(ready.snapshot.index, ready.snapshot.term)
        for entry in ready.committed:
            self._apply(entry)
        for read in ready.reads:
            self.waiters.read_confirmed(read, self.core.leader)
        if ready.committed or ready.reads or ready.snapshot:
            self.waiters.applied(self.core.log.applied)

    def _send_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._send(message)

    def _apply(self, entry: Entry) -> None:
        """Apply one entry; what the state machine raises is the proposer's."""
        self.waiters.reached(entry.index, entry.term)
        result: Any = None
        if entry.command:
            try:
                result = self._machine.apply(entry.index, decode_command(entry.command))
            except Exception as error:  # noqa: BLE001 - a state machine may raise anything
                if not self.waiters.failed(entry, error):
                    _log.debug("applying %d raised %r", entry.index, error)
                return
        self.waiters.done(entry, result)

    def _persist(self, ready: Ready) -> None:
        def write() -> None:
            self._storage.persist(ready.hard_state, ready.snapshot, ready.entries)

        def written() -> None:
            self._send_all(ready.messages_after_persist)
            self.core.advance()

        self._submit(write, written)

    def _compact(self) -> None:
        """Take a snapshot once enough was applied since the last; the log shrinks after it is stored."""
        log = self.core.log
        if self._compacting or log.applied - log.snapshot.index < self._config.snapshot_threshold:
            return
        term = log.term(log.applied)
        assert term is not None
        snapshot = Snapshot(log.applied, term, log.membership_at(log.applied), self._machine.snapshot())
        keep = self._config.snapshot_threshold // 2
        self._compacting = True

        def write() -> None:
            self._storage.compact(snapshot, snapshot.index - keep)

        def written() -> None:
            self._compacting = False
            if snapshot.index > log.snapshot.index:  # else one from the leader came meanwhile
                self.core.compact(snapshot, keep=keep)

        self._submit(write, written)

    # --- storage ---------------------------------------------------------------------------------

    def _submit(self, write: Callable[[], None], written: Callable[[], None]) -> None:
        """Let the storage do something, in its own thread if it waits for a disk."""
        if not self._storage.blocking:
            write()
            written()
            return
        self._jobs.append((write, written))
        self._job_wake.set()

    async def _write(self) -> None:
        while True:
            while not self._jobs:
                self._job_wake = anyio.Event()
                await self._job_wake.wait()
            write, written = self._jobs.popleft()
            try:
                await to_thread.run_sync(write)
                written()
            except (StorageError, InternalError) as error:
                self._fail(error)
                return
            self._wake.set()

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self.failure is None and self.core.role is Role.LEADER
