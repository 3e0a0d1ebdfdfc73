"""What a cluster knows about a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbit_net.model.lease import NodeLease
    from orbit_net.model.node import NodeId

__all__ = ["NodeCapabilities", "NodeInfo", "NodeStatus"]


class NodeStatus(IntEnum):
    """Whether a node takes work; the numbers are those of the wire. It goes on only in this order."""

    ACTIVE = 0
    DRAINING = 1
    STOPPED = 2


@dataclass(frozen=True, slots=True)
class NodeCapabilities:
    """What a node offers: the actor types that it hosts, how many actors at most (None: no limit), and free labels.

    The types keep their order and are taken once each; ``max_addressables`` is from 0 to 2³² - 1.
    """

    addressable_types: tuple[str, ...] = ()
    max_addressables: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "addressable_types", tuple(dict.fromkeys(self.addressable_types)))
        object.__setattr__(self, "tags", MappingProxyType(dict(self.tags)))
        if "" in self.addressable_types:
            raise ConfigurationError("NodeCapabilities.addressable_types holds an empty name")
        if self.max_addressables is not None and not 0 <= self.max_addressables < 1 << 32:
            text = f"NodeCapabilities.max_addressables is {self.max_addressables!r}; it must be from 0 to 2**32 - 1"
            raise ConfigurationError(text)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node, where it is reached, what it hosts and whether it takes work.

    ``url`` is a host name or address, or ``http://host``; ``port`` is from 1 to 65535.
    """

    id: NodeId
    url: str
    port: int
    capabilities: NodeCapabilities = field(default_factory=NodeCapabilities)
    status: NodeStatus = NodeStatus.ACTIVE
    lease: NodeLease | None = None

    def __post_init__(self) -> None:
        if not self.url:
            raise ConfigurationError(f"the node {self.id} needs a url that is not empty")
        if not 0 < self.port < 65_536:
            raise ConfigurationError(f"the port of the node {self.id} is {self.port!r}; it must be from 1 to 65535")
        if self.lease is not None and self.lease.node_id != self.id:
            raise ConfigurationError(f"the node {self.id} holds the lease of {self.lease.node_id}")

    @property
    def target(self) -> str:
        """What a channel takes: the url with the port; an IPv6 address gets its brackets."""
        host = f"[{self.url}]" if self.url.count(":") > 1 and "/" not in self.url and "[" not in self.url else self.url
        return f"{host}:{self.port}"
