"""A directory that is a list: every node is given the same one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orbit_net.directory.placement import can_host, choose
from orbit_net.errors import AddressableNotFound, ConfigurationError, NodeNotFound
from orbit_net.model import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orbit_net.directory.resolver import NodeChange
    from orbit_net.model import AddressableReference, NodeId, NodeInfo

__all__ = ["StaticNodeResolver"]

_REMEMBERED: Final = 65_536
"""Actors of which it is remembered that their node has sent them away."""


class StaticNodeResolver:
    """Places each actor by a hash over the listed active nodes that host its type, so that no node need ask another.

    ``local`` is the node that uses this list. A node that drains tells the others itself. Nothing is shared: while one
    node has heard of that and another has not, messages are rerouted; and the actors of a node that *crashed* stay
    where they are, because a list cannot know whether a silent node is dead. For that use the etcd directory.
    """

    def __init__(self, nodes: Iterable[NodeInfo], *, local: NodeId | None = None) -> None:
        self._nodes: dict[NodeId, NodeInfo] = {}
        for info in nodes:
            if info.id in self._nodes:
                raise ConfigurationError(f"the node {info.id} is listed twice")
            self._nodes[info.id] = info
        self._local = local
        self._sent_away: OrderedDict[AddressableReference, frozenset[NodeId]] = OrderedDict()
        self._subscribers: dict[object, NodeChange] = {}

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The list as it is now."""
        return tuple(self._nodes.values())

    def add(self, info: NodeInfo) -> None:
        """List a further node, or another address of a listed one."""
        self._nodes[info.id] = info
        self._tell(info.id, info.status)

    def remove(self, node_id: NodeId) -> None:
        """Take a node off the list; no effect on one that is not there."""
        if self._nodes.pop(node_id, None) is not None:
            self._tell(node_id, NodeStatus.STOPPED)

    async def resolve_node(self, node_id: NodeId) -> str:
        """Return the target of a listed node. Raises :class:`NodeNotFound`."""
        info = self._nodes.get(node_id)
        if info is None:
            raise NodeNotFound(f"the node {node_id} is not among the {len(self._nodes)} that are listed")
        return info.target

    async def resolve_addressable(self, reference: AddressableReference) -> NodeId:
        """Return the node that the hash gives. Raises :class:`AddressableNotFound` when no active node has the type."""
        owner = self.cached_owner(reference)
        if owner is None:
            raise AddressableNotFound(f"no active node hosts the type of {reference}")
        return owner

    def cached_owner(self, reference: AddressableReference) -> NodeId | None:
        """Return the node that the hash gives."""
        away = self._sent_away.get(reference, frozenset())
        nodes = [info.id for info in self._nodes.values() if can_host(info, reference)]
        # Nodes that all send it away contradict each other: better ask one of them again than none.
        return choose(reference, [node for node in nodes if node not in away] or nodes)

    def disowned(self, reference: AddressableReference, node_id: NodeId, *, found: NodeId | None = None) -> None:
        """Pass over a node for this actor, because it sends it away, until that node says ACTIVE again."""
        self._sent_away[reference] = (self._sent_away.get(reference, frozenset()) | {node_id}) - {found}
        self._sent_away.move_to_end(reference)
        if len(self._sent_away) > _REMEMBERED:
            self._sent_away.popitem(last=False)

    def forget(self, reference: AddressableReference) -> None:
        """Nothing is cached, so there is nothing to forget."""

    async def release(self, reference: AddressableReference) -> None:
        """Nothing is held, so there is nothing to let go."""

    async def set_status(self, status: NodeStatus) -> None:
        """Note the status of the local node."""
        if self._local is not None:
            self.node_status(self._local, status)

    def node_status(self, node_id: NodeId, status: NodeStatus) -> None:
        """Note what a node says of itself; one that is not listed is ignored."""
        info = self._nodes.get(node_id)
        if info is None or info.status is status:
            return
        self._nodes[node_id] = replace(info, status=status)
        if status is NodeStatus.ACTIVE:
            kept = {reference: away - {node_id} for reference, away in self._sent_away.items()}
            self._sent_away = OrderedDict((reference, away) for reference, away in kept.items() if away)
        self._tell(node_id, status)

    def others(self) -> tuple[NodeId, ...]:
        """Every listed node but this one and those that have stopped."""
        return tuple(
            info.id for info in self._nodes.values() if info.id != self._local and info.status is not NodeStatus.STOPPED
        )

    def subscribe(self, change: NodeChange) -> Callable[[], None]:
        """Have ``change`` called for each node whose status changes; return what ends that."""
        key = object()
        self._subscribers[key] = change
        return lambda: self._subscribers.pop(key, None) and None

    def _tell(self, node_id: NodeId, status: NodeStatus) -> None:
        for change in list(self._subscribers.values()):
            change(node_id, status)

    def __repr__(self) -> str:
        active = sum(info.status is NodeStatus.ACTIVE for info in self._nodes.values())
        return f"<StaticNodeResolver of {len(self._nodes)} nodes, {active} active>"
