"""What a channel hands its calls to, chosen by its target and its policy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from orbit_net.client.balance.balancer import Balancer
from orbit_net.client.balance.settings import PickFirst
from orbit_net.client.connecting import Connecting
from orbit_net.client.resolve.builtin import DnsResolver, FixedResolver
from orbit_net.client.resolve.resolution import ResolvedEndpoint
from orbit_net.client.resolve.schedule import ResolveSettings
from orbit_net.client.resolve.targets import resolver_for
from orbit_net.client.subchannel import Subchannel
from orbit_net.errors import ConfigurationError
from orbit_net.net import proxy_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from anyio.abc import ByteStream

    from orbit_net.client.balance.subchannel_pool import SubchannelPool
    from orbit_net.client.channel import Channel
    from orbit_net.client.dialing import Connector, Way
    from orbit_net.client.line import Line
    from orbit_net.client.resolve.resolution import Resolver
    from orbit_net.net import Address

__all__ = ["chosen_resolver", "line_of"]


def chosen_resolver(
    target: str, resolver: Resolver | None, connector: Connector | None, dial: Any, proxy: str | None
) -> Resolver:
    """Return what finds the addresses of ``target``; raises :class:`ConfigurationError` for a contradiction."""
    if connector is not None and (resolver is not None or dial is not None):
        raise ConfigurationError("a connector leaves nothing to resolve or to dial; use dial for many addresses")
    found = resolver_for(target) if resolver is None else resolver
    by_proxy = dial is None and isinstance(found, DnsResolver) and resolver is None and proxy_for(target, proxy)
    if isinstance(found, DnsResolver) and (connector is not None or by_proxy):
        # There is one place to connect to, whatever the name stands for; a proxy looks it up itself.
        return FixedResolver([ResolvedEndpoint(addresses=(found.address,))])
    return found


def line_of(
    channel: Channel,
    resolver: Resolver,
    *,
    connector: Connector | None,
    dial: Callable[[Address], Awaitable[ByteStream]] | None,
    proxy: str | None,
    resolve: ResolveSettings | None,
    pool: SubchannelPool | None,
    random: Random,
) -> Line:
    """Return a single subchannel where that does all that is asked for: it costs a call nothing. Else a balancer."""
    settings = channel.settings
    if connector is not None:
        dial = partial(_only, connector)
    connecting = Connecting(settings, channel.tls, dial, proxy)
    balancing = channel.planned(None).balancing
    if isinstance(balancing, PickFirst) and pool is None and resolve is None:
        make = partial(Subchannel, name=channel.target, settings=settings, random=random, observer=channel.line_changed)
        if isinstance(resolver, FixedResolver):
            [endpoint, *more] = resolver.endpoints
            [address, *others] = endpoint.addresses
            if not (more or others):
                return make(_whole(channel, connecting, connector, address, endpoint.server_name))
        elif isinstance(resolver, DnsResolver):
            ways = partial(_ways, resolver, connecting, channel.target)
            return make(ways=ways, attempt_delay=balancing.attempt_delay)
    return Balancer(
        channel, resolver, connecting, settings, resolve=resolve or ResolveSettings(), pool=pool, random=random
    )


async def _only(connector: Connector, _: Address) -> ByteStream:
    return await connector()


def _whole(
    channel: Channel, connecting: Connecting, connector: Connector | None, address: Address, server_name: str | None
) -> Connector:
    """Return the user's own connector as it is, where nothing is to be added to it."""
    if connector is not None and channel.tls is None:
        return connector
    return connecting.connector(address, server_name, channel.target)


async def _ways(resolver: DnsResolver, connecting: Connecting, target: str) -> list[Way]:
    resolution = await resolver.resolve()
    return [
        (str(address), connecting.connector(address, endpoint.server_name, target))
        for endpoint in resolution.endpoints
        for address in endpoint.addresses
    ]
