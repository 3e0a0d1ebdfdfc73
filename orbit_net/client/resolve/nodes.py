"""The nodes of an Orbit cluster as a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orbit_net.client.resolve.resolution import Resolution, ResolvedEndpoint
from orbit_net.model import NodeStatus
from orbit_net.net import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.model import NodeId, NodeInfo

__all__ = ["NodeListing", "NodesResolver"]


class NodeListing(Protocol):
    """What is asked of a directory: those of :mod:`orbit_net.directory` have it."""

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes that are known now."""

    def subscribe(self, change: Callable[[NodeId, NodeStatus], None]) -> Callable[[], None]:
        """Have ``change`` called for each node whose status changes; return what ends that."""


class NodesResolver:
    """The active nodes of a directory, or those of them that host the actor type ``hosting``; changes count at once.

    A node keeps its place on rings by its id, wherever it runs. A tag ``weight`` of its capabilities is its weight.

    Example::

        Channel("orbit", resolver=NodesResolver(directory), balancing=RoundRobin())
    """

    def __init__(self, directory: NodeListing, hosting: str | None = None, *, authority: str = "orbit") -> None:
        self._directory = directory
        self._hosting = hosting
        self.authority = authority

    async def resolve(self) -> Resolution:
        """Return the nodes that take work. Does not wait."""
        nodes = sorted(filter(self._wanted, self._directory.nodes), key=lambda node: str(node.id))
        return Resolution(endpoints=tuple(map(_endpoint, nodes)))

    def _wanted(self, node: NodeInfo) -> bool:
        types = node.capabilities.addressable_types
        return node.status is NodeStatus.ACTIVE and (self._hosting is None or self._hosting in types)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have ``changed()`` called when a node joins, drains or is gone."""
        return self._directory.subscribe(lambda _id, _status: changed())

    def __repr__(self) -> str:
        return f"<NodesResolver of {self._directory!r}, {self._hosting or 'any type'}>"


def _endpoint(node: NodeInfo) -> ResolvedEndpoint:
    return ResolvedEndpoint(
        addresses=(parse_target(node.target),),
        weight=_weight(node.capabilities.tags.get("weight")),
        hash_key=str(node.id),
    )


def _weight(tag: str | None) -> float:
    """Return the weight that a tag says; a tag that says none must not take the node out of service."""
    try:
        weight = 1.0 if tag is None else float(tag)
    except ValueError:
        return 1.0
    return weight if 0 < weight < float("inf") else 1.0
