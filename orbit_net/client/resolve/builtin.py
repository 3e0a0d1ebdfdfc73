"""The resolvers of the targets that are known by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.client.balance.race import interleave
from orbit_net.client.resolve.resolution import Resolution, ResolvedEndpoint
from orbit_net.net import lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.net import TcpAddress

__all__ = ["DnsResolver", "FixedResolver"]


class FixedResolver:
    """Always gives the same endpoints: those of ``ipv4:``, ``ipv6:``, ``unix:``, ``unix-abstract:`` and ``static:``.

    A host that is a name is looked up at each connection attempt.
    """

    def __init__(self, endpoints: Sequence[ResolvedEndpoint], *, authority: str | None = None) -> None:
        self._resolution = Resolution(endpoints=tuple(endpoints))
        self.authority = authority or self._resolution.endpoints[0].addresses[0].authority

    @property
    def endpoints(self) -> tuple[ResolvedEndpoint, ...]:
        """What it gives."""
        return self._resolution.endpoints

    async def resolve(self) -> Resolution:
        """Return the endpoints. Does not wait."""
        return self._resolution

    def __repr__(self) -> str:
        return f"<FixedResolver of {', '.join(endpoint.name for endpoint in self.endpoints)}>"


class DnsResolver:
    """Asks the system for all addresses (A and AAAA) of a host; each of them is an endpoint."""

    def __init__(self, address: TcpAddress) -> None:
        self._address = address
        self.authority = address.authority

    @property
    def address(self) -> TcpAddress:
        """The name and the port."""
        return self._address

    async def resolve(self) -> Resolution:
        """Return an endpoint for each address, families alternating; raises :class:`ConnectError` without any."""
        address = self._address
        found = interleave(await lookup(address))
        return Resolution(
            endpoints=tuple(ResolvedEndpoint(addresses=(one,), server_name=address.server_name) for one in found)
        )

    def __repr__(self) -> str:
        return f"<DnsResolver of {self._address}>"
