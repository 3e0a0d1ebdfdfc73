"""The directory in etcd: members under leases, actors placed by compare-and-swap, a cache that watches keep true."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

import anyio

from orbit_net.context import detached
from orbit_net.directory.etcd.client import EtcdClient, end_of
from orbit_net.directory.etcd.keys import Keys, Member, decode_owner, place, read_member, release
from orbit_net.directory.etcd.membership import Membership
from orbit_net.directory.placement import can_host, choose
from orbit_net.errors import AddressableNotFound, ConfigurationError, LeaseExpired, NodeNotFound, OrbitError, RpcError
from orbit_net.model import NodeStatus
from orbit_net.proto.mvccpb import EventEventType
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.directory.etcd.settings import EtcdSettings
    from orbit_net.directory.resolver import NodeChange
    from orbit_net.model import AddressableReference, NodeId, NodeInfo
    from orbit_net.net import TlsConfig
    from orbit_net.proto.etcdserverpb import WatchResponse
    from orbit_net.proto.mvccpb import Event, KeyValue

__all__ = ["EtcdNodeResolver"]

_log = logging.getLogger("orbit_net.directory")

_PLACEMENTS = 20
"""Tries to place an actor while nodes come and go."""


class EtcdNodeResolver:
    """Nodes and owners of actors in etcd, shared by every node of ``namespace``.

    With ``node`` given, entering registers it under a lease that is kept alive; without it, :meth:`join` does, or the
    resolver only asks. Leaving revokes the lease, which frees
    its actors. A node that dies is gone when its lease runs out. When *this* node loses its lease, because etcd could
    not be reached for so long, subscribers are told that it is STOPPED, and ACTIVE when it is registered again: its
    actors may be elsewhere by then. Entering raises :class:`OrbitTimeout` when etcd does not answer.

    While etcd is away, what is cached goes on being answered and the rest raises :class:`OrbitTimeout`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        node: NodeInfo | None = None,
        namespace: str = "default",
        user: str | None = None,
        password: str | None = None,
        tls: TlsConfig | None = None,
        settings: EtcdSettings | None = None,
    ) -> None:
        _check_namespace(node, namespace)
        self._client = EtcdClient(endpoints, user=user, password=password, tls=tls, settings=settings)
        self.settings = self._client.settings
        self._namespace = namespace
        self._keys = Keys(self.settings.prefix, namespace)
        self._members: dict[bytes, Member] = {}
        self._owners: OrderedDict[AddressableReference, NodeId] = OrderedDict()
        self._subscribers: dict[object, NodeChange] = {}
        self._tasks: TaskGroup | None = None
        self._membership: Membership | None = None
        self._joining = node
        self.syncs = 0
        """How often the members were read anew, because the watch had ended."""

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a resolver can be entered once; make a new one")
        await self._client.__aenter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            revision = await self._sync()
            if self._joining is not None:
                await self.join(self._joining)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        with detached():
            self._tasks.start_soon(self._follow, revision + 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        try:
            if self._membership is not None:
                self._membership.leaving = True
                with anyio.move_on_after(2.0):
                    await self._membership.leave()
        finally:
            self._tasks.cancel_scope.cancel()
            try:
                # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
                await self._tasks.__aexit__(None, None, None)
            finally:  # a cancelled group raises
                await self._client.__aexit__(None, None, None)

    # --- membership ------------------------------------------------------------------------------

    async def join(self, node: NodeInfo) -> None:
        """Register a node under a lease, once its server listens; a resolver registers one node.

        Raises :class:`ConfigurationError` for a second one or another namespace, :class:`OrbitTimeout` when etcd does
        not answer; the node is not registered then.
        """
        _check_namespace(node, self._namespace)
        if self._membership is not None:
            raise ConfigurationError(f"the node {self._membership.node.id} is registered by this resolver already")
        if self._tasks is None:
            raise ConfigurationError("the resolver is not open: use it inside 'async with'")
        key = self._keys.node(node.id)
        membership = Membership(self._client, key, node, self._written, self._changed)
        await membership.register(take_over=True)
        self._membership = membership
        with detached():  # membership outlives the call that begins it
            self._tasks.start_soon(membership.stay)

    @property
    def node(self) -> NodeInfo | None:
        """This node as it is registered, or None for a resolver that only asks."""
        return None if self._membership is None else self._membership.node

    @property
    def lease(self) -> int | None:
        """The lease that this node is registered under; None while it is not."""
        return None if self._membership is None else self._membership.lease

    def _changed(self, status: NodeStatus) -> None:
        assert self.node is not None
        if status is NodeStatus.STOPPED:
            self._members.pop(self._keys.node(self.node.id), None)
            self._drop_owned(self.node.id)
        self._tell(self.node.id, status)

    def _written(self, member: Member) -> None:
        self._members[self._keys.node(member.info.id)] = member

    async def set_status(self, status: NodeStatus) -> None:
        """Say that this node drains (it gets no new actors), or has stopped (its lease is revoked).

        Raises :class:`OrbitTimeout` when etcd did not hear of it.
        """
        if self._membership is not None:
            await self._membership.set_status(status)

    # --- the watch -------------------------------------------------------------------------------

    async def _sync(self) -> int:
        """Read all members anew and forget the owners; return the revision that this is true at."""
        answer = await self._client.range(self._keys.nodes, end_of(self._keys.nodes))
        self.syncs += 1
        before = dict(self._members)
        self._members.clear()
        self._owners.clear()
        for pair in answer.kvs:
            self._member(pair)
        for key, member in before.items():
            if key not in self._members:
                self._tell(member.info.id, NodeStatus.STOPPED)
            elif self._members[key].info.status is not member.info.status:
                self._tell(member.info.id, self._members[key].info.status)
        return answer.header.revision if answer.header is not None else 0

    async def _follow(self, revision: int) -> None:
        """Watch for ever; each time the watch ends, read anew, for what was missed is not told again."""
        while True:
            reason = await self._client.watch(
                self._keys.root, revision, self._see, silence=max(2.0, self.settings.lease)
            )
            _log.info("the watch has ended: %s", reason)
            while True:
                await anyio.sleep(self.settings.pause)
                try:
                    revision = await self._sync() + 1
                    break
                except OrbitError as error:
                    _log.info("etcd does not answer: %s", error)

    def _see(self, news: WatchResponse) -> None:
        for event in news.events:
            pair = event.kv
            if pair is None:
                continue
            if pair.key.startswith(self._keys.actors):
                self._see_actor(event, pair)
            elif pair.key.startswith(self._keys.nodes):
                self._see_node(event, pair)

    def _see_actor(self, event: Event, pair: KeyValue) -> None:
        reference = self._keys.reference(pair.key)
        if reference is None or reference not in self._owners:
            return
        owner = decode_owner(pair.value) if event.type is EventEventType.PUT else None
        if owner is None:
            del self._owners[reference]
        else:
            self._owners[reference] = owner

    def _see_node(self, event: Event, pair: KeyValue) -> None:
        before = self._members.get(pair.key)
        if before is not None and before.revision >= pair.mod_revision:
            return  # our own writing, which is known already
        if event.type is EventEventType.DELETE:
            if before is not None:
                del self._members[pair.key]
                self._drop_owned(before.info.id)
                if self._membership is not None and before.info.id == self._membership.node.id:
                    self._membership.lost(LeaseExpired("etcd has deleted the node's key"))
                else:
                    self._tell(before.info.id, NodeStatus.STOPPED)
            return
        self._member(pair)
        member = self._members.get(pair.key)
        if member is not None and self.node is not None and member.info.id == self.node.id:
            return  # what this node says is told when it is said
        if member is not None and (before is None or before.info.status is not member.info.status):
            self._tell(member.info.id, member.info.status)

    def _member(self, pair: KeyValue) -> None:
        member = read_member(pair)
        if member is None:
            _log.warning("etcd holds at %r what is no node", pair.key)
            self._members.pop(pair.key, None)
        else:
            self._members[pair.key] = member

    def _drop_owned(self, node_id: NodeId) -> None:
        self._owners = OrderedDict((ref, owner) for ref, owner in self._owners.items() if owner != node_id)

    # --- questions -------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The registered nodes, as far as it is known here."""
        return tuple(member.info for member in self._members.values())

    async def resolve_node(self, node_id: NodeId) -> str:
        """Return the target of a registered node. Raises :class:`NodeNotFound`, :class:`OrbitTimeout`."""
        key = self._keys.node(node_id)
        member = self._members.get(key)
        if member is None:
            pair = _first(await self._client.range(key))
            member = None if pair is None else read_member(pair)
        if member is None:
            raise NodeNotFound(f"the node {node_id} is not registered")
        return member.info.target

    async def resolve_addressable(self, reference: AddressableReference) -> NodeId:
        """Return the owner of an actor; one that nobody owns is given to an active node that hosts its type.

        Of any number of nodes that do this at once, exactly one places the actor. Raises :class:`AddressableNotFound`
        when no active node hosts the type, :class:`OrbitTimeout` when etcd does not answer.
        """
        for _ in range(_PLACEMENTS):
            owner = self.cached_owner(reference)
            if owner is None:
                owner = await self._place(reference)
            if owner is not None:
                self._owners[reference] = owner
                self._owners.move_to_end(reference)
                if len(self._owners) > self.settings.max_cached:
                    self._owners.popitem(last=False)
                return owner
        raise AddressableNotFound(f"{reference} found no place: the nodes that host it come and go")

    async def _place(self, reference: AddressableReference) -> NodeId | None:
        """Return the owner, perhaps a new one; None when the nodes have changed under the placement."""
        actor = self._keys.actor(reference)
        owner = choose(reference, [m.info.id for m in self._members.values() if can_host(m.info, reference)])
        if owner is None:
            pair = _first(await self._client.range(actor))
            found = None if pair is None else decode_owner(pair.value)
            if found is None:
                await self._sync()  # a node may have joined that the watch has not told of yet
                if not any(can_host(member.info, reference) for member in self._members.values()):
                    raise AddressableNotFound(f"no active node hosts the type of {reference}")
            return found
        key = self._keys.node(owner)
        try:
            answer = await self._client.transact(place(actor, key, self._members[key]))
        except RpcError as error:
            if error.status is not Status.NOT_FOUND:
                raise
            self._members.pop(key, None)  # its lease has run out, and the watch will say so
            return None
        if answer.succeeded:
            return owner
        there, node = (_first(response.response_range) for response in answer.responses)
        if there is not None:
            return decode_owner(there.value)
        if node is None:
            self._members.pop(key, None)
        else:
            self._member(node)
        return None

    def cached_owner(self, reference: AddressableReference) -> NodeId | None:
        """Return the owner if it is known and still a member."""
        owner = self._owners.get(reference)
        if owner is None or self._keys.node(owner) not in self._members:
            return None
        return owner

    def disowned(self, reference: AddressableReference, node_id: NodeId, *, found: NodeId | None = None) -> None:
        """Forget the owner, for it says that it is not."""
        self._owners.pop(reference, None)

    def forget(self, reference: AddressableReference) -> None:
        """Ask etcd at the next question for this actor."""
        self._owners.pop(reference, None)

    async def release(self, reference: AddressableReference) -> None:
        """Free an actor that this node owns."""
        self._owners.pop(reference, None)
        if self.node is not None and self.lease is not None:
            await self._client.transact(release(self._keys.actor(reference), self.node.id))

    def node_status(self, node_id: NodeId, status: NodeStatus) -> None:
        """What a node says by other ways is not heard: etcd knows."""

    def others(self) -> tuple[NodeId, ...]:
        """Nobody has to be told: etcd tells them."""
        return ()

    def subscribe(self, change: NodeChange) -> Callable[[], None]:
        """Have ``change`` called for each node that joins, drains or is gone; return what ends that."""
        key = object()
        self._subscribers[key] = change
        return lambda: self._subscribers.pop(key, None) and None

    def _tell(self, node_id: NodeId, status: NodeStatus) -> None:
        for change in list(self._subscribers.values()):
            change(node_id, status)

    def __repr__(self) -> str:
        where = "not registered" if self.lease is None else f"lease {self.lease:x}"
        return f"<EtcdNodeResolver of {len(self._members)} nodes, {len(self._owners)} owners cached, {where}>"


def _check_namespace(node: NodeInfo | None, namespace: str) -> None:
    if node is not None and node.id.namespace != namespace:
        raise ConfigurationError(f"the node {node.id} is not of the namespace {namespace!r}")


def _first(answer: object) -> KeyValue | None:
    pairs: list[KeyValue] = getattr(answer, "kvs", [])
    return pairs[0] if pairs else None
