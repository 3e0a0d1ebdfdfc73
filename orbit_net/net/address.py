"""Targets and addresses: what a user names, and what a socket is opened to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from orbit_net.errors import ConfigurationError

__all__ = ["Address", "TcpAddress", "UnixAddress", "parse_address", "parse_target"]

_FORMS = "host:port, dns:///host:port, ipv4:a.b.c.d:port, ipv6:[a::b]:port, unix:/path, unix-abstract:name, http(s)://host:port"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name or address, IPv6 without brackets) and a port; ``str`` gives a form that is a target again."""

    host: str
    port: int

    @property
    def literal(self) -> bool:
        """Whether the host is an address, so that nobody need be asked for one."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def server_name(self) -> str:
        """What a certificate must be for: the host without a zone or a last dot."""
        return self.host.partition("%")[0].rstrip(".")

    @property
    def authority(self) -> str:
        """What ``:authority`` says: IPv6 addresses in brackets (RFC 3986 §3.2.2), without a zone."""
        host = self.host.partition("%")[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket; one that begins with a NUL is in Linux's abstract namespace."""

    path: str

    @property
    def authority(self) -> str:
        """A socket file has no host; ``localhost`` is what other gRPC clients send."""
        return self.server_name

    @property
    def server_name(self) -> str:
        """What a certificate must be for."""
        return "localhost"

    def __str__(self) -> str:
        return f"unix-abstract:{self.path[1:]}" if self.path.startswith("\0") else f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse_target(target: str) -> Address:
    """Return the address that a client's ``target`` names; raises :class:`ConfigurationError` for anything unclear."""
    if not target:
        raise ConfigurationError(f"the target {target!r} is not one of {_FORMS}")
    scheme, colon, rest = target.partition(":")
    if colon:
        match scheme:
            case "unix":
                return _unix(target, rest.removeprefix("//"))
            case "unix-abstract":
                return _unix(target, "\0" + rest)
            case "dns" | "passthrough":
                return _tcp(target, _after_authority(target, rest))
            case "ipv4" | "ipv6":
                return _literal(target, rest, 4 if scheme == "ipv4" else 6)
            case "http" | "https":
                return _url(target, 443 if scheme == "https" else 80)
            case _ if rest.startswith("//"):
                raise ConfigurationError(f"the target {target!r} has an unknown scheme; allowed: {_FORMS}")
    return _tcp(target, target)


def parse_address(address: str) -> Address:
    """Return the address that a server listens on; port 0 lets the system choose."""
    return parse_target(address)


def _after_authority(target: str, rest: str) -> str:
    if not rest.startswith("//"):
        return rest
    authority, slash, endpoint = rest[2:].partition("/")
    if not slash:
        raise ConfigurationError(f"the target {target!r} lacks a slash: dns:///host:port")
    if authority:
        raise ConfigurationError(f"the target {target!r} names the DNS server {authority!r}; only the system's is used")
    return endpoint


def _unix(target: str, path: str) -> UnixAddress:
    if path in ("", "\0"):
        raise ConfigurationError(f"the target {target!r} has no path")
    return UnixAddress(unquote(path))


def _url(target: str, default_port: int) -> TcpAddress:
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the target {target!r} is no URL: {error}") from None
    if not host or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"the target {target!r} must be a scheme, a host and a port, and nothing else")
    return TcpAddress(host, default_port if port is None else port)


def _literal(target: str, text: str, version: int) -> TcpAddress:
    address = _tcp(target, text)
    try:
        valid = ipaddress.ip_address(address.host).version == version
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"the target {target!r} does not hold an IPv{version} address")
    return address


def _tcp(target: str, text: str) -> TcpAddress:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        valid = bool(bracket) and port.startswith(":") and _is_ipv6(host)
        port = port[1:]
    else:
        host, colon, port = text.rpartition(":")
        valid = bool(colon) and ":" not in host
    if not valid or not host or host != host.strip() or any(mark in host for mark in "/@?#, "):
        raise ConfigurationError(f"the target {target!r} is not one of {_FORMS}")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigurationError(f"the target {target!r} has the port {port!r}; it must be between 0 and 65535")
    return TcpAddress(host, int(port))


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
