"""Finding the addresses of a target."""

from orbit_net.client.resolve.builtin import DnsResolver, FixedResolver
from orbit_net.client.resolve.nodes import NodeListing, NodesResolver
from orbit_net.client.resolve.resolution import PushingResolver, Resolution, ResolvedEndpoint, Resolver
from orbit_net.client.resolve.schedule import ResolveSettings
from orbit_net.client.resolve.targets import ResolverFactory, register_resolver, resolver_for, unregister_resolver

__all__ = [
    "DnsResolver",
    "FixedResolver",
    "NodeListing",
    "NodesResolver",
    "PushingResolver",
    "Resolution",
    "ResolveSettings",
    "ResolvedEndpoint",
    "Resolver",
    "ResolverFactory",
    "register_resolver",
    "resolver_for",
    "unregister_resolver",
]
