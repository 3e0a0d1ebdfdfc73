"""From the text of a target to its resolver, and the register of users' own schemes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from orbit_net.client.resolve.builtin import DnsResolver, FixedResolver
from orbit_net.client.resolve.resolution import ResolvedEndpoint
from orbit_net.errors import ConfigurationError
from orbit_net.net import TcpAddress, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.client.resolve.resolution import Resolver

__all__ = ["ResolverFactory", "register_resolver", "resolver_for", "unregister_resolver"]

ResolverFactory: TypeAlias = "Callable[[str], Resolver]"
"""Makes the resolver of a target, of which it is given all; raises :class:`ConfigurationError` for a bad one."""

_BUILT_IN: Final = frozenset(
    {"dns", "http", "https", "ipv4", "ipv6", "passthrough", "static", "unix", "unix-abstract"},
)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*").fullmatch
_registered: dict[str, ResolverFactory] = {}


def register_resolver(scheme: str, factory: ResolverFactory) -> None:
    """Have targets ``scheme:…`` resolved by what ``factory`` makes of the whole target, in channels made from now on.

    Raises :class:`ConfigurationError` for a scheme that is built in, is registered already, or is no scheme.
    """
    if not _SCHEME(scheme):
        raise ConfigurationError(f"the scheme {scheme!r} must be lower-case letters, digits, '+', '-' and '.'")
    if scheme in _BUILT_IN or scheme in _registered:
        raise ConfigurationError(f"the scheme {scheme!r} has a resolver already")
    _registered[scheme] = factory


def unregister_resolver(scheme: str) -> None:
    """Forget a registered scheme; channels that use it go on. No effect on one that is not registered."""
    _registered.pop(scheme, None)


def resolver_for(target: str) -> Resolver:
    """Return the resolver of a target; raises :class:`ConfigurationError` for one that cannot be meant."""
    scheme, _, rest = target.partition(":")
    factory = _registered.get(scheme)
    if factory is not None:
        return factory(target)
    if scheme in ("ipv4", "ipv6"):
        return FixedResolver([_endpoint(target, f"{scheme}:{part}") for part in _parts(target, rest)])
    if scheme == "static":
        return FixedResolver([_static(target, part) for part in _parts(target, rest.removeprefix("///"))])
    address = parse_target(target)
    if isinstance(address, TcpAddress) and not address.literal:
        return DnsResolver(address)
    return FixedResolver([ResolvedEndpoint(addresses=(address,))])


def _parts(target: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigurationError(f"the target {target!r} lists an address that is empty")
    if len(set(parts)) < len(parts):
        raise ConfigurationError(f"the target {target!r} lists an address twice")
    return parts


def _static(target: str, part: str) -> ResolvedEndpoint:
    """Read ``host:port``, ``host:port;weight=2`` or the same with a Unix socket."""
    text, semicolon, option = part.partition(";")
    weight = 1.0
    if semicolon:
        key, _, value = option.partition("=")
        try:
            weight = float(value) if key == "weight" else 0.0
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise ConfigurationError(f"the target {target!r} has the option {option!r}; allowed: weight=NUMBER above 0")
    return _endpoint(target, text, weight)


def _endpoint(target: str, text: str, weight: float = 1.0) -> ResolvedEndpoint:
    try:
        return ResolvedEndpoint(addresses=(parse_target(text),), weight=weight)
    except ConfigurationError as error:
        raise ConfigurationError(f"the target {target!r}: {error}") from None
