"""Which proxy a connection goes through: the user's choice, or the environment's.

Source: gRPC *environment_variables* and *G1-http-connect-proxy*; how ``no_proxy`` is read is what Go's ``httpproxy``
documents, which grpc-go uses.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from orbit_net.errors import ConfigurationError
from orbit_net.net.address import TcpAddress, parse_target
from orbit_net.net.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENVIRONMENT", "Proxy", "bypasses", "choose_proxy", "parse_proxy"]

ENVIRONMENT: Final = "environment"
"""What to give for a proxy to leave the choice to the variables of the environment."""

_PROXIES: Final = ("grpc_proxy", "https_proxy", "HTTPS_PROXY")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
"""In the order in which they are looked at: the first that is set and not empty counts."""
_DEFAULT_PORT: Final = 80
_FORM: Final = "http://[user:password@]host[:port]"
_NAMED: Final = re.compile(r"(?:dns|passthrough|https?):|(?:\[[^\]]+\]|[^:/]+):\d+\Z")
"""Targets that name one host, which a proxy can look up."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that opens tunnels (RFC 9110 §9.3.6).

    ``authorization`` is the value of Proxy-Authorization; no text of this object shows it.
    """

    address: TcpAddress
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"http://{'***@' if self.authorization else ''}{self.address}"


def choose_proxy(proxy: str | None, target: str, environ: Mapping[str, str]) -> tuple[Proxy, TcpAddress] | None:
    """Return the proxy for a target and what to ask of it, or None to connect directly.

    ``proxy`` is a URL, None for none, or :data:`ENVIRONMENT`: that is ``grpc_proxy``, ``https_proxy`` or
    ``HTTPS_PROXY`` for targets that name a host, but for those in ``no_grpc_proxy``, ``no_proxy`` or ``NO_PROXY``, and
    but for localhost and loopback addresses. Raises :class:`ConfigurationError` for a URL that is not usable, without
    its credentials, and for a target that a proxy does not lead to.
    """
    if proxy is None:
        return None
    if proxy == ENVIRONMENT:
        return _from_environment(target, environ)
    address = parse_target(target)
    if not isinstance(address, TcpAddress):
        raise ConfigurationError(f"a proxy leads to hosts, and the target {target!r} is a socket of this machine")
    return parse_proxy(proxy, "proxy"), _askable(address)


def _from_environment(target: str, environ: Mapping[str, str]) -> tuple[Proxy, TcpAddress] | None:
    name = next((name for name in _PROXIES if environ.get(name)), None)
    if name is None or not _NAMED.match(target):
        return None
    address = parse_target(target)
    if not isinstance(address, TcpAddress) or _is_local(address.host):
        return None
    exceptions = next((environ[name] for name in _EXCEPTIONS if environ.get(name)), "")
    return None if bypasses(exceptions, address) else (parse_proxy(environ[name], name), _askable(address))


def _askable(address: TcpAddress) -> TcpAddress:
    """Refuse a host that cannot stand in the request to a proxy."""
    if not (address.host.isascii() and address.host.isprintable()):
        raise ConfigurationError(f"the host {address.host!r} cannot be asked of a proxy; it must be printable ASCII")
    return address


def parse_proxy(url: str, name: str) -> Proxy:
    """Return the proxy that ``url`` names; ``name`` tells where it comes from."""
    shown = f"{name} is {without_credentials(url)!r}"
    parts = _split(url if "://" in url else f"http://{url}", shown)
    if parts.scheme != "http":
        raise ConfigurationError(f"{shown}; only {_FORM} is supported: the tunnel may carry TLS, the way to it not")
    host = parts.hostname or ""
    if not host or not (host.isascii() and host.isprintable()) or parts.path not in ("", "/") or parts.query:
        raise ConfigurationError(f"{shown}; it must be {_FORM}")
    port = _DEFAULT_PORT if parts.port is None else parts.port
    return Proxy(TcpAddress(host, port), _authorization(parts, shown))


def _split(url: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Not the error's text nor the error itself: they quote the URL.
        raise ConfigurationError(f"{shown}; it must be {_FORM}") from None
    return parts


def _authorization(parts: SplitResult, shown: str) -> str | None:
    """Return the credentials as RFC 7617 writes them."""
    if parts.username is None:
        return None
    user, password = unquote(parts.username), unquote(parts.password or "")
    if ":" in user:
        raise ConfigurationError(f"{shown}; a user's name may not contain a colon (RFC 7617 §2)")
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


# --- exceptions ----------------------------------------------------------------------------------


def bypasses(exceptions: str, address: TcpAddress) -> bool:
    """Whether a ``no_proxy`` names ``address``.

    Entries are separated by commas or blanks, and each may end in a port that must be the same: ``*`` for everything,
    an IP address, a network such as ``10.0.0.0/8``, a domain for itself and all below it, or ``.domain`` and
    ``*.domain`` for those below it only. Case does not matter; what is none of these matches nothing.
    """
    host = address.host.partition("%")[0].rstrip(".").lower()
    ip = _ip(host)
    return any(_matches(entry.lower(), host, ip, address.port) for entry in re.split(r"[,\s]+", exceptions) if entry)


def _matches(entry: str, host: str, ip: _Ip | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return ip is not None and _in_network(entry, ip)
    name, wanted = _without_port(entry)
    if wanted is not None and wanted != str(port):
        return False
    if ip is not None:
        return _ip(name) == ip
    name = name.rstrip(".").removeprefix("*")
    return bool(name.strip(".")) and (host == name or host.endswith(name if name.startswith(".") else f".{name}"))


def _without_port(entry: str) -> tuple[str, str | None]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":") or None
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, None)


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(text: str) -> _Ip | None:
    """Return an address, that of IPv4 where IPv6 maps it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _in_network(entry: str, ip: _Ip) -> bool:
    try:
        return ip in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_local(host: str) -> bool:
    host = host.partition("%")[0].rstrip(".").lower()
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host == "localhost"
