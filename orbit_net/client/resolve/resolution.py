"""What a resolver says: where a target is to be found, and how to call it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.client.config.service_config import ServiceConfig
    from orbit_net.net import Address

__all__ = ["PushingResolver", "Resolution", "ResolvedEndpoint", "Resolver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedEndpoint:
    """One server, and the addresses that all lead to it.

    ``weight`` above 0 is for policies that have weights. ``server_name`` is what its certificate must be for; without
    one that is the host of the address. ``hash_key`` is its place on rings, instead of its first address, so that a
    server that comes back elsewhere keeps its keys (gRFC A76).
    """

    addresses: tuple[Address, ...]
    weight: float = 1.0
    server_name: str | None = None
    hash_key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple(self.addresses))
        if not self.addresses:
            raise ConfigurationError("ResolvedEndpoint.addresses is empty; an endpoint needs one at least")
        weight: Any = self.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ConfigurationError(f"ResolvedEndpoint.weight is {weight!r}; it must be a number above 0")

    @property
    def name(self) -> str:
        """What it is called in texts: its first address."""
        return str(self.addresses[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """All endpoints of a target at this moment; ``service_config`` replaces that of the channel, None keeps it."""

    endpoints: tuple[ResolvedEndpoint, ...]
    service_config: ServiceConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoints", tuple(self.endpoints))


class Resolver(Protocol):
    """Finds the endpoints of one target.

    ``authority`` is what calls say in ``:authority``. A resolver raises whatever it likes: calls fail with
    UNAVAILABLE then, or wait if they may, and it is asked again. The status of an :class:`RpcError` is kept unless only
    applications may use it: then it becomes INTERNAL (gRFC A54).
    """

    @property
    def authority(self) -> str:
        """Host and port as they stand in ``:authority``."""

    async def resolve(self) -> Resolution:
        """Return the endpoints now. It may be cancelled, and is never called twice at a time."""


class PushingResolver(Resolver, Protocol):
    """A resolver that is told of changes, and passes them on without being asked."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have ``changed()`` called when :meth:`resolve` would give something else; return what ends that."""
