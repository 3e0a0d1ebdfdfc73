"""Sockets by anyio: connect, listen, and what is known of the peer. Foreign exceptions end here."""

from __future__ import annotations

import os
import socket as _socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

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

__all__ = ["Peer", "connect", "listen", "peer_of", "set_no_delay"]


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


def set_no_delay(stream: ByteStream) -> None:
    """Send small frames at once: a call must not wait for Nagle's algorithm."""
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is not None and raw.family in (_socket.AF_INET, _socket.AF_INET6):
        raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)


async def connect(address: Address) -> ByteStream:
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
    set_no_delay(stream)
    return stream


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
