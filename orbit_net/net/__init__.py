"""Sockets and tasks: the only package that waits for the network."""

from orbit_net.net.address import Address, TcpAddress, UnixAddress, parse_address, parse_target
from orbit_net.net.cancellation import is_cancelled
from orbit_net.net.certificate import Certificate
from orbit_net.net.connection import Connection
from orbit_net.net.credentials import Credentials
from orbit_net.net.proxy import ENVIRONMENT
from orbit_net.net.redaction import quiet_hpack
from orbit_net.net.socket import Peer, connect, listen, lookup, peer_of, prepare
from orbit_net.net.stream import Failure, Stream
from orbit_net.net.timers import Timer, Timers
from orbit_net.net.tls import TlsConfig, tls_for
from orbit_net.net.tlsstream import TlsStream
from orbit_net.net.tunnel import proxy_for, tunnel_for
from orbit_net.net.upkeep import UpkeepSettings

__all__ = [
    "ENVIRONMENT",
    "Address",
    "Certificate",
    "Connection",
    "Credentials",
    "Failure",
    "Peer",
    "Stream",
    "TcpAddress",
    "Timer",
    "Timers",
    "TlsConfig",
    "TlsStream",
    "UnixAddress",
    "UpkeepSettings",
    "connect",
    "is_cancelled",
    "listen",
    "lookup",
    "parse_address",
    "parse_target",
    "peer_of",
    "prepare",
    "proxy_for",
    "tls_for",
    "tunnel_for",
]

quiet_hpack()
