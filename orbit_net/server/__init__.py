"""The server side: services, calls and their end."""

from orbit_net.net import Certificate, TlsConfig
from orbit_net.server.admission import ConnectionLimits
from orbit_net.server.call import ServerStream, current_call
from orbit_net.server.server import Server
from orbit_net.server.service import Service
from orbit_net.server.settings import ServerSettings
from orbit_net.server.signals import stop_on_signals
from orbit_net.wire import FloodLimits, LifeSettings, PatienceSettings, ServerKeepaliveSettings

__all__ = [
    "Certificate",
    "ConnectionLimits",
    "FloodLimits",
    "LifeSettings",
    "PatienceSettings",
    "Server",
    "ServerKeepaliveSettings",
    "ServerSettings",
    "ServerStream",
    "Service",
    "TlsConfig",
    "current_call",
    "stop_on_signals",
]
