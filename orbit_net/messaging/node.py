"""One node of a cluster of actors: its own actors, its links to the others, and the way between."""

from __future__ import annotations

import logging
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import anyio

from orbit_net.context import detached
from orbit_net.errors import (
    ConfigurationError,
    OrbitError,
)
from orbit_net.messaging.actors import ActorServer
from orbit_net.messaging.announce import NodeService, announce
from orbit_net.messaging.caller import Caller
from orbit_net.messaging.connection_service import answer_about
from orbit_net.messaging.links import Links
from orbit_net.messaging.reference import ActorProxy, ActorRef, marked
from orbit_net.messaging.routing import MAX_DELIVERIES, Deliver, Forward, Refuse, route
from orbit_net.messaging.settings import LinkSettings
from orbit_net.model import (
    AddressableReference,
    Failure,
    Invocation,
    InvocationReason,
    Message,
    NodeStatus,
    Unicast,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.directory import Directory
    from orbit_net.messaging.asker import Asker
    from orbit_net.messaging.connection_service import OrbitConnectionService
    from orbit_net.messaging.session import Received
    from orbit_net.messaging.settings import ActorSettings
    from orbit_net.model import Key, NodeId, Target

__all__ = ["ActorNode"]

Actor = TypeVar("Actor")

_log = logging.getLogger("orbit_net.messaging")


class ActorNode:
    """Hosts actors, and invokes actors wherever they live.

    ``directory`` says who owns which actor; serve :attr:`service` with a :class:`~orbit_net.server.Server` so that the
    other nodes reach this one. Needs ``async with``, which owns the node's tasks; leaving the block ends at once what
    is open: call :meth:`drain` before to have its actors move and nothing lost.

    Example::

        node = ActorNode(NodeId("n1"), StaticNodeResolver(nodes, local=NodeId("n1")))
        node.register(Account)
        async with node, Server([node.service]) as server:
            await server.listen("0.0.0.0:50051")
            await node.proxy(Account, "42").debit(amount=100)
    """

    def __init__(
        self,
        node_id: NodeId,
        directory: Directory,
        *,
        settings: LinkSettings | None = None,
        actors: ActorSettings | None = None,
        connector: Callable[[str], Awaitable[ByteStream]] | None = None,
        random: Random | None = None,
        max_in_flight: int = 1_024,
    ) -> None:
        self.node_id = node_id
        self.directory = directory
        self.settings = settings or LinkSettings()
        self.actors = ActorServer(settings=actors, release=self._release, redeliver=self._deliver_late)
        self._random = random or Random()
        self._links = Links(node_id, directory, self.settings, connector, self._random)
        self._service = NodeService(node_id, directory, self._receive, max_in_flight=max_in_flight)
        self._caller = Caller(node_id, directory, self._links, self.settings, self._random, self._here)
        self._looking: dict[AddressableReference, list[tuple[Invocation, Asker, int]]] = {}
        self._tasks: TaskGroup | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self.status = NodeStatus.ACTIVE

    @property
    def service(self) -> OrbitConnectionService:
        """What the other nodes call; one of the services of a server."""
        return self._service

    def register(
        self,
        actor_class: type,
        *,
        name: str | None = None,
        factory: Callable[[AddressableReference], Any] | None = None,
    ) -> None:
        """Host actors of a class; see :meth:`ActorServer.register`."""
        self.actors.register(actor_class, name=name, factory=factory)

    def ref(
        self,
        actor_type: type | str,
        key: Key | str | int | None = None,
        *,
        timeout: float | None = None,
        idempotent: Sequence[str] = (),
        via: Sequence[NodeId] = (),
    ) -> ActorRef:
        """Return a reference to an actor, wherever it lives; see :class:`ActorRef`.

        A class stands for its name, and for the methods that it marks as :func:`idempotent`.
        """
        name = actor_type if isinstance(actor_type, str) else actor_type.__name__
        reference = AddressableReference(name, key_of(key))
        methods = marked(actor_type) | frozenset(idempotent)
        return ActorRef(self, reference, timeout=timeout, idempotent=methods, via=via)

    def proxy(
        self, actor_class: type[Actor], key: Key | str | int | None = None, *, timeout: float | None = None
    ) -> Actor:
        """Return an object with the methods of ``actor_class`` that run where the actor lives."""
        return cast("Actor", ActorProxy(actor_class, self.ref(actor_class, key, timeout=timeout)))

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a node can be entered once; make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        await self.actors.__aenter__()
        self._links.start(self._tasks)
        self._unsubscribe = self.directory.subscribe(self._node_changed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        if self._unsubscribe is not None:
            self._unsubscribe()
        self.status = NodeStatus.STOPPED
        self._links.close()
        try:
            await self.actors.__aexit__(None, None, None)
        finally:
            self._tasks.cancel_scope.cancel()
            # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)

    async def announce(self) -> None:
        """Tell the other nodes of a static directory this node's status; one that is not reached is left out."""
        await announce(self.node_id, self.status, self.directory, self.settings, self._links.connector)

    async def drain(self) -> None:
        """Leave the cluster with nothing lost: deactivate every actor, send on what comes for them, end the streams.

        Returns when no stream is open any more; then drain the server. Invocations that callers of this node wait for
        go on. Cancellation leaves the node draining.
        """
        self.status = NodeStatus.DRAINING
        await self.directory.set_status(NodeStatus.DRAINING)
        await self.actors.drain()
        await self.announce()
        self._service.finish()
        await self._service.wait_finished()
        self.status = NodeStatus.STOPPED
        await self.directory.set_status(NodeStatus.STOPPED)
        await self.announce()

    def _node_changed(self, node_id: NodeId, status: NodeStatus) -> None:
        if node_id == self.node_id and status is NodeStatus.STOPPED:
            # The lease is gone, so another node may own the actors from now on.
            self.actors.deactivate_all()
        elif status is NodeStatus.STOPPED:
            self._links.retire(node_id)

    async def _release(self, reference: AddressableReference) -> None:
        try:
            await self.directory.release(reference)
        except OrbitError as error:
            _log.warning("%s was not released: %s", reference, error)

    # --- what comes in ---------------------------------------------------------------------------

    def _receive(self, message: Message, received: Received) -> None:
        if not isinstance(message.content, Invocation):
            answer_about(self.node_id, message, received)
            return
        match route(self.node_id, message):
            case Deliver():
                self._deliver(message.content, received, message.attempts, message.source)
            case Forward(node, target):
                self._send_on(node, message.content, received, target, message.attempts)
            case Refuse(reason):
                received.answer(Failure(reason))

    def _deliver_late(self, invocation: Invocation, asker: Asker) -> None:
        self._deliver(invocation, asker, 0, None)

    def _deliver(self, invocation: Invocation, asker: Asker, attempts: int, source: NodeId | None) -> None:
        """Give an invocation to its actor, here or where the directory says that it is."""
        reference = invocation.reference
        if self.actors.hosts(reference):
            self.actors.submit(invocation, asker)
            return
        waiting = self._looking.get(reference)
        if waiting is not None:
            waiting.append((invocation, asker, attempts))
            return
        owner = self.directory.cached_owner(reference)
        if owner is not None and owner == source and invocation.reason is InvocationReason.REROUTED:
            self.directory.disowned(reference, owner)
            owner = self.directory.cached_owner(reference)
        if owner is None or (owner == self.node_id and self.status is not NodeStatus.ACTIVE):
            assert self._tasks is not None
            self._looking[reference] = [(invocation, asker, attempts)]
            self._tasks.start_soon(self._look, reference)
        else:
            self._give(owner, invocation, asker, attempts)

    def _give(self, owner: NodeId, invocation: Invocation, asker: Asker, attempts: int) -> None:
        if owner == self.node_id:
            self.actors.submit(invocation, asker)
        elif attempts >= MAX_DELIVERIES:
            asker.answer(Failure(f"{invocation.reference} was looked for {attempts} times and is nowhere"))
        else:
            rerouted = replace(invocation, reason=InvocationReason.REROUTED)
            self._send_on(owner, rerouted, asker, Unicast(owner), attempts + 1)

    async def _look(self, reference: AddressableReference) -> None:
        """Ask the directory who owns an actor, then give away everything that waits for the answer, in order."""
        reason, owner = "", None
        try:
            with anyio.fail_after(self.settings.timeout):
                if self.status is not NodeStatus.ACTIVE:
                    await self._release(reference)
                owner = await self.directory.resolve_addressable(reference)
        except (OrbitError, TimeoutError) as error:
            reason = str(error) or "the directory did not answer"
        finally:
            waiting = self._looking.pop(reference)
            if owner is None:
                for _, asker, _ in waiting:
                    asker.answer(Failure(reason or "the node has stopped"))
        if owner == self.node_id and self.status is not NodeStatus.ACTIVE:
            owner, reason = None, "the node is leaving, and no other takes its actors"
        for invocation, asker, attempts in waiting:
            if owner is not None:
                self._give(owner, invocation, asker, attempts)
            else:
                asker.answer(Failure(reason))

    def _send_on(self, node: NodeId, invocation: Invocation, asker: Asker, target: Target, attempts: int) -> None:
        until = anyio.current_time() + self.settings.timeout
        link = self._links.get(node)
        if link is not None:
            link.relay(invocation, asker, until=until, target=target, attempts=attempts)
            return
        assert self._tasks is not None
        self._tasks.start_soon(self._send_on_later, node, invocation, asker, target, attempts, until)

    async def _send_on_later(
        self, node: NodeId, invocation: Invocation, asker: Asker, target: Target, attempts: int, until: float
    ) -> None:
        try:
            with anyio.move_on_at(until):
                link = await self._links.open(node)
                link.relay(invocation, asker, until=until, target=target, attempts=attempts)
                return
            asker.answer(Failure(f"the directory did not say in time where {node} is"))
        except OrbitError as error:
            asker.answer(Failure(str(error)))

    async def invoke(
        self,
        invocation: Invocation,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        via: Sequence[NodeId] = (),
    ) -> str:
        """Run an invocation wherever its actor lives and return the value's JSON; see :meth:`ActorRef.invoke`.

        What did not reach an actor is tried again until ``timeout`` (seconds; the settings' without it) or the deadline
        of the call being handled, whichever is earlier. What reached one is not, unless it is ``idempotent``.
        """
        return await self._caller.invoke(invocation, timeout=timeout, idempotent=idempotent, via=tuple(via))

    def _here(self, invocation: Invocation, asker: Asker) -> None:
        """Take an invocation of a caller of this node for an actor that the directory gives to this node."""
        if self.status is NodeStatus.ACTIVE or self.actors.hosts(invocation.reference):
            self.actors.submit(invocation, asker)
        else:
            with detached():
                self._deliver(invocation, asker, 0, None)

    def __repr__(self) -> str:
        return f"<ActorNode {self.node_id} {self.status.name}, {self.actors!r}, {len(self._links)} links>"
