"""Which node an actor goes to: rendezvous hashing. Pure, and the same on every node."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from orbit_net.model import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orbit_net.model import AddressableReference, NodeId, NodeInfo

__all__ = ["can_host", "choose"]


def can_host(info: NodeInfo, reference: AddressableReference) -> bool:
    """Whether a node takes new actors of this type."""
    return info.status is NodeStatus.ACTIVE and reference.addressable_type in info.capabilities.addressable_types


def choose(reference: AddressableReference, nodes: Iterable[NodeId]) -> NodeId | None:
    """Return the node with the highest hash of node and actor, or None of no nodes.

    A node that leaves moves only its own actors, and evenly to the rest (Thaler and Ravishankar, *Using name-based
    mappings to increase hit rates*, 1998).
    """
    actor = f"{reference.addressable_type}\0{type(reference.key).__name__}\0{reference.key}"
    return max(nodes, key=lambda node: (_weight(f"{node}\0{actor}"), node), default=None)


def _weight(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
