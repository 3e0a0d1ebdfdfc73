"""Sockets by anyio: connect, listen, and what is known of the peer. Foreign exceptions end here."""

from __future__ import annotations

import os
import socket as _socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from orbit_net.errors import ConfigurationError, ConnectError
from orbit_net.net.address import TcpAddress, UnixAddress
from orbit_net.net.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyio.abc import ByteStream, Listener, SocketStream

    from orbit_net.net.address import Address

__all__ = ["Peer", "connect", "listen", "lookup", "peer_of", "prepare"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, in the shape of grpclib's; ``certificate`` is None where none was verified."""

    address: tuple[str, int] | str | None
    certificate: Certificate | None = None

    def addr(self) -> tuple[str, int] | str | None:
        """Return host and port, a socket path, or None when the byte stream does not say."""
        return self.address

    def cert(self) -> Mapping[str, Any] | None:
        """Return what :meth:`ssl.SSLSocket.getpeercert` says; None on plain text, or from a client without one."""
        return None if self.certificate is None else self.certificate.details

    def __str__(self) -> str:
        match self.address:
            case (str(host), int(port), *_):
                return str(TcpAddress(host, port))
            case str(path) if path:
                return f"unix:{path}"
        return "local"


def peer_of(stream: ByteStream) -> Peer:
    """Return what the stream knows of its other end."""
    address = stream.extra(SocketAttribute.remote_address, None)
    certificate = _certificate_of(stream)
    if isinstance(address, (tuple, list)):
        return Peer((str(address[0]), int(address[1])), certificate)
    return Peer(address or None, certificate)


def _certificate_of(stream: ByteStream) -> Certificate | None:
    der = stream.extra(TLSAttribute.peer_certificate_binary, None)
    details = stream.extra(TLSAttribute.peer_certificate, None) if der else None
    return Certificate(der, details) if der and details else None


_PROBES: Final = 4
"""Questions of the system's own keepalive that may stay unanswered before the connection is lost."""


def prepare(stream: ByteStream, *, tcp_keepalive: float | None) -> None:
    """Set the options of a TCP socket; no effect on any other stream. Raises :class:`OSError` for one that is gone.

    Small frames are sent at once: a call must not wait for Nagle's algorithm. After ``tcp_keepalive`` seconds of
    silence, and as often again, the system asks whether the other end is there; None leaves the system's setting.
    """
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None or raw.family not in (_socket.AF_INET, _socket.AF_INET6):
        return
    raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    if tcp_keepalive is not None:
        raw.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        seconds = max(1, round(tcp_keepalive))
        for name, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", seconds), ("TCP_KEEPCNT", _PROBES)):
            option = getattr(_socket, name, None)  # not every system has all of them
            if option is not None:
                raw.setsockopt(_socket.IPPROTO_TCP, option, value)


async def connect(address: Address, *, tcp_keepalive: float | None = None) -> ByteStream:
    """Open a stream to ``address``; raises :class:`ConnectError` with the system's reason.

    Names are resolved, and several addresses tried, as anyio does it (RFC 6555). Cancellation closes what was opened.
    """
    try:
        stream: SocketStream
        if isinstance(address, UnixAddress):
            stream = await anyio.connect_unix(address.path)
        else:
            stream = await anyio.connect_tcp(address.host, address.port)
    except OSError as error:
        raise ConnectError(f"cannot connect to {address}: {_reason(error)}") from error
    prepare(stream, tcp_keepalive=tcp_keepalive)
    return stream


async def lookup(address: TcpAddress) -> list[TcpAddress]:
    """Return all addresses of a host, in the system's order; raises :class:`ConnectError` when it has none."""
    try:
        found = await anyio.getaddrinfo(address.host, address.port, type=_socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"cannot connect to {address}: {error}") from error
    return [TcpAddress(str(host), int(port)) for *_, (host, port, *_) in found]


def _reason(error: OSError) -> str:
    """Return the text of the first real cause: anyio groups the failures of several addresses."""
    cause: BaseException | None = error.__cause__ if error.errno is None else None
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return str(cause or error)


async def listen(address: Address, *, backlog: int = 1_024) -> tuple[list[Listener[SocketStream]], list[str]]:
    """Open listeners and return them with the targets that reach them, the chosen port filled in.

    A name may stand for several addresses, so there may be several listeners. A stale socket file is replaced, any
    other file is not. Raises :class:`ConfigurationError` when the address cannot be bound.
    """
    try:
        if isinstance(address, UnixAddress):
            _remove_stale(address.path)
            unix = await anyio.create_unix_listener(address.path, backlog=backlog)
            return [unix], [str(address)]
        tcp = await anyio.create_tcp_listener(local_host=address.host, local_port=address.port, backlog=backlog)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {_reason(error)}") from error
    parts: Sequence[Listener[SocketStream]] = getattr(tcp, "listeners", [tcp])
    bound = [cast("tuple[str, int]", part.extra(SocketAttribute.local_address)) for part in parts]
    return list(parts), list(dict.fromkeys(str(TcpAddress(host, port)) for host, port, *_ in bound))


def _remove_stale(path: str) -> None:
    if path.startswith("\0"):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        return
