"""One node of a Raft cluster, as its application sees it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio import to_thread
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.errors import ConfigurationError, OutcomeUnknown, ProposalDropped, RaftError
from orbit_net.model import NodeId
from orbit_net.raft.answers import Answers
from orbit_net.raft.commands import NodeJoin, NodeLeave, encode_command
from orbit_net.raft.core import RaftCore
from orbit_net.raft.driver import Driver
from orbit_net.raft.log import RaftLog
from orbit_net.raft.machine import NoStateMachine
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import Snapshot
from orbit_net.raft.news import News
from orbit_net.raft.progress import Replication
from orbit_net.raft.settings import RaftConfig
from orbit_net.raft.storage import MemoryStorage
from orbit_net.raft.waiting import Conditions, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.raft.commands import RaftCommand
    from orbit_net.raft.machine import RaftEventHandler, StateMachine
    from orbit_net.raft.messages import CoreStatus, Message
    from orbit_net.raft.storage import Storage
    from orbit_net.raft.transport import RaftTransport

__all__ = ["Applied", "RaftConsensus"]

_log = logging.getLogger("orbit_net.raft")


@dataclass(frozen=True, slots=True)
class Applied:
    """A proposal that is committed and applied: where it stands in the log, and what the state machine returned."""

    index: int
    result: Any


class RaftConsensus:
    """A member of a cluster, or a node that is about to be added to one.

    ``cluster_nodes`` are the first voters, the same on each of them; they only count while ``storage`` is empty. A node
    that joins an existing cluster is given none, and is added by :meth:`add_node` on the leader. ``state_machine`` is
    applied to what is committed; ``storage`` keeps everything in memory by default, which is no use against crashes;
    ``handlers`` are told of leaders and terms; ``random`` spreads the elections.

    Making one needs no event loop; ``async with`` owns its tasks, and :meth:`start` begins. Should the storage fail,
    the node stops and every method that waits raises: a node must not promise what it cannot keep.

    Example::

        async with RaftConsensus(node_id, nodes, state_machine=store, storage=DurableStorage("raft")) as consensus:
            await consensus.start(GrpcRaftTransport(node_id, addresses))
            await start_raft_server(consensus, "0.0.0.0:50051")
    """

    def __init__(
        self,
        node_id: NodeId,
        cluster_nodes: Collection[NodeId],
        config: RaftConfig | None = None,
        *,
        state_machine: StateMachine | None = None,
        storage: Storage | None = None,
        handlers: Iterable[RaftEventHandler] = (),
        random: Random | None = None,
    ) -> None:
        if cluster_nodes and node_id not in cluster_nodes:
            raise ConfigurationError(f"{node_id} is not among the cluster's nodes; to join a cluster, name none")
        self.node_id = node_id
        self.config = config or RaftConfig()
        self.answers = Answers()
        """Where the service leaves the way back to other nodes."""
        self.storage: Storage = MemoryStorage() if storage is None else storage
        self._first = Membership.of(map(str, cluster_nodes))
        self._machine: StateMachine = NoStateMachine() if state_machine is None else state_machine
        self._random = random or Random()
        self._news = News(handlers)
        self._driver: Driver | None = None
        self._transport: RaftTransport | None = None
        self._tasks: TaskGroup | None = None
        self._conditions = Conditions()
        self._addresses: dict[str, str] = {}
        self._stopped = anyio.Event()

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a RaftConsensus can be entered once; make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        try:
            # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self.storage.close()

    async def start(self, transport: RaftTransport) -> None:
        """Load what is stored and take part from now on. Raises :class:`StorageError`; nothing was started then."""
        if self._tasks is None:
            raise ConfigurationError("start needs 'async with RaftConsensus(...) as consensus' around it")
        if self._driver is not None:
            raise ConfigurationError("a RaftConsensus can be started once; make a new one")
        core = await to_thread.run_sync(self._load)
        self._transport = transport
        self._driver = Driver(core, self.storage, self._machine, self.config, send=self._send, changed=self._on_turn)
        await self._tasks.start(transport.run, self)
        self._tasks.start_soon(self._run, self._driver)
        self._tasks.start_soon(self._news.tell)
        self._on_turn()

    def _load(self) -> RaftCore:
        stored = self.storage.load()
        snapshot = stored.snapshot
        if stored.empty and self._first.voters:
            # The first members stand in a snapshot of nothing: later ones are known even if this list changes.
            snapshot = Snapshot(membership=self._first)
            self.storage.persist(None, snapshot, ())
        if snapshot.index:
            self._machine.restore(snapshot.data)
        log = RaftLog(snapshot, stored.entries)
        return RaftCore(str(self.node_id), log, stored.hard_state, config=self.config.in_ticks(), random=self._random)

    async def _run(self, driver: Driver) -> None:
        try:
            await driver.run()
        finally:
            self._stopped.set()
            self._on_turn()

    async def wait_stopped(self) -> None:
        """Wait until the node has stopped by itself, and raise why: a :class:`StorageError`, an internal one."""
        await self._stopped.wait()
        if self._driver is not None and self._driver.failure is not None:
            raise self._driver.failure

    # --- what applications ask -------------------------------------------------------------------

    async def propose(self, command: RaftCommand, *, timeout: float | None = None) -> Applied:
        """Have ``command`` applied on every node; return when it is applied on this one.

        :class:`NodeJoin` and :class:`NodeLeave` change the members as :meth:`add_node` and :meth:`remove_node` do.
        Raises :class:`NotLeader` or :class:`ProposalDropped` when it is certain not to be applied, and
        :class:`OutcomeUnknown` after ``timeout`` seconds (``proposal_timeout`` by default) or when this node stops.
        What the state machine raised is raised as it is.

        Cancellation: the command may be applied or not.
        """
        if isinstance(command, NodeJoin):
            return Applied(await self.add_node(command.node_id, command.address, timeout=timeout), None)
        if isinstance(command, NodeLeave):
            return Applied(await self.remove_node(command.node_id, timeout=timeout), None)
        data = encode_command(command)
        driver = self._started()
        waiter = Waiter()

        def append() -> None:
            index = driver.core.propose(data, timestamp=_now())
            driver.waiters.expect(waiter, index, driver.core.term)

        return Applied(*await self._append(driver, append, waiter, timeout))

    async def _append(
        self, driver: Driver, append: Callable[[], None], waiter: Waiter, timeout: float | None
    ) -> tuple[int, Any]:
        driver.intend(append, waiter)
        try:
            with anyio.fail_after(self.config.proposal_timeout if timeout is None else timeout):
                result = await waiter.wait()
        except TimeoutError as error:
            if waiter.done:
                raise  # the state machine's own
            raise OutcomeUnknown("the proposal was not applied in time; it may still be") from error
        finally:
            driver.waiters.forget(waiter)
        return waiter.index, result

    async def read_index(self, *, timeout: float | None = None) -> int:
        """Return once the state machine here holds everything that was applied anywhere before this call (thesis §6.4).

        What is read from the state machine right after it is linearizable. Returns the index. Raises
        :class:`NotLeader`; :class:`OutcomeUnknown` after ``timeout`` seconds.
        """
        driver = self._started()
        waiter = Waiter()

        def ask() -> None:
            token = driver.waiters.expect_read(waiter)
            try:
                driver.core.read_index(token)
            except RaftError:
                driver.waiters.forget_read(token)
                raise

        _, index = await self._append(driver, ask, waiter, timeout)
        return int(index)

    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows; :meth:`read_index` makes sure."""
        return self._driver is not None and self._driver.is_leader

    def get_leader(self) -> NodeId | None:
        """Return the leader that this node knows."""
        if self._driver is None or self._driver.core.leader is None or self._driver.failure is not None:
            return None
        return NodeId.parse(self._driver.core.leader)

    def get_current_term(self) -> int:
        """Return the term that this node knows."""
        return self._started().core.term

    def get_cluster_nodes(self) -> list[NodeId]:
        """Return the voters of the latest membership in the log, sorted."""
        return sorted(NodeId.parse(node) for node in self._started().core.log.membership.voters)

    def status(self) -> CoreStatus:
        """Return what this node knows: role, term, indexes, members, and how far the others are while it leads."""
        return self._started().core.status()

    async def wait_leader(self, timeout: float | None = None) -> NodeId:
        """Wait until a leader is known and return it. Raises :class:`OutcomeUnknown` after ``timeout`` seconds."""
        await self._until(lambda: self.get_leader() is not None, timeout)
        leader = self.get_leader()
        assert leader is not None
        return leader

    async def transfer_leadership(self, target: NodeId, *, timeout: float | None = None) -> None:
        """Hand leadership to ``target`` and wait until this node follows (thesis §3.10).

        Raises :class:`NotLeader`, or :class:`ProposalDropped` when ``target`` cannot take over or did not within an
        election timeout: this node leads on.
        """
        driver = self._started()
        waiter = Waiter()

        def transfer() -> None:
            driver.core.transfer_leadership(str(target))
            waiter.succeed(None)

        await self._append(driver, transfer, waiter, timeout)
        term = driver.core.term
        await self._until(lambda: driver.core.transferee is None or driver.core.term > term, timeout)
        if driver.is_leader and driver.core.term == term:
            raise ProposalDropped(f"{target} did not take over in time")

    async def add_node(
        self, node_id: NodeId, address: str, *, learner: bool = False, timeout: float | None = None
    ) -> int:
        """Make ``node_id`` a member that is reached at ``address``; return the index of the last change.

        It is added as a learner, and given a vote once it has caught up (thesis §4.2.1), so that it never delays a
        commit; ``learner`` leaves it at that. Raises as :meth:`propose` does; after an :class:`OutcomeUnknown` it may
        be a learner.
        """
        name = str(node_id)
        driver = self._started()

        def learner_step(now: Membership) -> Membership:
            if name in now.voters:
                raise ProposalDropped(f"{node_id} has a vote already")
            return now.with_learner(name, address)

        index = await self._change(driver, learner_step, NodeJoin(node_id, address), timeout)
        if learner:
            return index
        await self._until(lambda: not driver.is_leader or self._caught_up(driver, name), timeout)
        return await self._change(
            driver,
            lambda now: now.with_voter(name, address),
            NodeJoin(node_id, address),
            timeout,
        )

    async def remove_node(self, node_id: NodeId, *, timeout: float | None = None) -> int:
        """Take ``node_id`` out; a leader that removes itself steps down afterwards. Return the index of the change.

        Raises as :meth:`propose` does.
        """
        name = str(node_id)

        def without(now: Membership) -> Membership:
            if name not in now.members:
                raise ProposalDropped(f"{node_id} is not a member")
            return now.without(name)

        return await self._change(self._started(), without, NodeLeave(node_id), timeout)

    async def _change(
        self,
        driver: Driver,
        change: Callable[[Membership], Membership],
        command: RaftCommand,
        timeout: float | None,
    ) -> int:
        await self._until(lambda: not driver.is_leader or _is_settled(driver.core), timeout)
        waiter = Waiter()

        def append() -> None:
            target = change(driver.core.log.membership)
            index = driver.core.propose_membership(target, command=encode_command(command), timestamp=_now())
            driver.waiters.expect(waiter, index, driver.core.term)

        index, _ = await self._append(driver, append, waiter, timeout)
        return index

    def _caught_up(self, driver: Driver, name: str) -> bool:
        progress = driver.core.progress.get(name)
        if progress is None or progress.state is not Replication.REPLICATE:
            return False
        return progress.match + self.config.core.max_entries >= driver.core.log.last_index

    # --- between the driver and the others -------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Take a message from another node."""
        if self._driver is not None:
            self._driver.receive(message)

    def unreachable(self, node: str) -> None:
        """Take note that messages to ``node`` were lost."""
        driver = self._driver
        if driver is not None and driver.failure is None:
            driver.intend(lambda: driver.core.report_unreachable(node))

    async def ask(self, message: Any) -> Message:
        """Hand in a request that came by a call of its own, and wait for the answer."""
        if self._driver is None or self._driver.failure is not None:
            raise GRPCError(Status.UNAVAILABLE, f"{self.node_id} takes no part now")
        return await self.answers.ask(message, self._driver.receive)

    def _send(self, message: Message) -> None:
        """Send what the core says: answers by the way the request came, if it is still there."""
        if not self.answers.send(message):
            assert self._transport is not None
            self._transport.send(message)

    def _on_turn(self) -> None:
        """Look at the core after a turn: addresses, events, and who waits for something to become true."""
        driver = self._driver
        if driver is None:
            return
        core = driver.core
        addresses = dict(core.log.membership.addresses)
        if addresses != self._addresses:
            self._addresses = addresses
            for name, address in addresses.items():
                if self._transport is not None and name != str(self.node_id):
                    self._transport.update_node_address(NodeId.parse(name), address)
        self._news.look(core.term, self.get_leader())
        stopped = self._stopped.is_set() or driver.failure is not None
        self._conditions.look(RaftError(f"this node has stopped: {driver.failure}") if stopped else None)

    async def _until(self, condition: Callable[[], bool], timeout: float | None) -> None:
        await self._conditions.until(condition, self.config.proposal_timeout if timeout is None else timeout)

    def _started(self) -> Driver:
        if self._driver is None:
            raise ConfigurationError("the node was not started: await consensus.start(transport) first")
        return self._driver

    def __repr__(self) -> str:
        what = "not started" if self._driver is None else repr(self._driver.core)
        return f"<RaftConsensus {self.node_id}: {what}>"


def _is_settled(core: RaftCore) -> bool:
    """Whether the members may be changed: the last change, and an entry of this term, are committed (thesis §4.1)."""
    log = core.log
    return log.membership_index <= log.commit and not log.membership.joint and log.term(log.commit) == core.term


def _now() -> int:
    return time.time_ns() // 1_000_000
