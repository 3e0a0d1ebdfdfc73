"""What the rest of the library asks of a directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from orbit_net.model import NodeId, NodeStatus

if TYPE_CHECKING:
    from orbit_net.model import AddressableReference

__all__ = ["Directory", "NodeChange", "NodeResolver"]

NodeChange: TypeAlias = Callable[[NodeId, NodeStatus], None]
"""Told of each node that joins (ACTIVE), drains (DRAINING) or is gone (STOPPED). Must not block."""


class NodeResolver(Protocol):
    """Where nodes are, and which node owns an actor."""

    async def resolve_node(self, node_id: NodeId) -> str:
        """Return the target of a node, as a channel takes it. Raises :class:`NodeNotFound`."""

    async def resolve_addressable(self, reference: AddressableReference) -> NodeId:
        """Return the node that owns an actor, placing it first where nobody does.

        Raises :class:`AddressableNotFound` when no active node hosts the type.
        """


class Directory(NodeResolver, Protocol):
    """What a node of actors needs beside that."""

    def cached_owner(self, reference: AddressableReference) -> NodeId | None:
        """Return the owner if it is known without asking anybody."""

    def disowned(self, reference: AddressableReference, node_id: NodeId, *, found: NodeId | None = None) -> None:
        """Take notice that ``node_id`` itself sends the actor's messages on, and where it was ``found`` if so."""

    def forget(self, reference: AddressableReference) -> None:
        """Look again, with whoever knows, at the next question for this actor."""

    async def release(self, reference: AddressableReference) -> None:
        """Let go of an actor that this node owned and has deactivated."""

    async def set_status(self, status: NodeStatus) -> None:
        """Say that this node drains, or has stopped."""

    def node_status(self, node_id: NodeId, status: NodeStatus) -> None:
        """Take notice of what a node says of itself."""

    def others(self) -> tuple[NodeId, ...]:
        """The nodes that have to be told of this one's status, because nothing else tells them."""

    def subscribe(self, change: NodeChange) -> Callable[[], None]:
        """Have ``change`` called from now on; return what ends that."""
