"""How a channel connects to an address: its socket, and TLS over it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orbit_net.net import connect, tunnel_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from anyio.abc import ByteStream

    from orbit_net.client.dialing import Connector, Way
    from orbit_net.client.resolve.resolution import ResolvedEndpoint
    from orbit_net.client.settings import ChannelSettings
    from orbit_net.net import Address, Credentials

__all__ = ["Connecting"]


class Connecting:
    """Makes the connectors of one channel. ``dial`` replaces the socket; ``proxy`` is that of the channel."""

    __slots__ = ("_dial", "_proxy", "_settings", "_shared", "_tls")

    def __init__(
        self,
        settings: ChannelSettings,
        tls: Credentials | None,
        dial: Callable[[Address], Awaitable[ByteStream]] | None,
        proxy: str | None,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._dial = dial
        self._proxy = proxy
        self._shared = (dial, proxy, settings.wire(), settings.upkeep(), settings.connect_timeout, settings.backoff)

    def connector(self, address: Address, server_name: str | None = None, name: str | None = None) -> Connector:
        """Return what opens a stream to ``address``, whose certificate must be for ``server_name`` or the host.

        ``name`` is what the texts of errors call the server.
        """
        plain = self._socket(address) if self._dial is None else partial(self._dial, address)
        if self._tls is None:
            return plain
        return partial(self._tls.connect, plain, server_name or address.server_name, name or str(address))

    def _socket(self, address: Address) -> Connector:
        limit, probes = self._settings.connect_timeout, self._settings.keepalive.tcp_time
        tunnel = tunnel_for(str(address), self._proxy, timeout=limit, tcp_keepalive=probes)
        return tunnel or partial(connect, address, tcp_keepalive=probes)

    def ways(self, endpoint: ResolvedEndpoint) -> list[Way]:
        """Return a way for each address of an endpoint."""
        return [(str(one), self.connector(one, endpoint.server_name)) for one in endpoint.addresses]

    def key(self, endpoint: ResolvedEndpoint) -> Hashable:
        """Return what two endpoints have in common whose connections are as good as each other."""
        return endpoint.addresses, None if self._tls is None else (self._tls, endpoint.server_name), self._shared
