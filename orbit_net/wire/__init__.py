"""The sans-IO core: HTTP/2 and gRPC framing as pure state machines.

Nothing in here awaits, opens a socket, logs, asks the time or draws a random number (a test reads the imports).
"""

from orbit_net.wire.connection import Connection
from orbit_net.wire.events import (
    ConnectionFailed,
    Event,
    GoAwayReceived,
    HeadersReceived,
    LateTrailers,
    MessagesReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
)
from orbit_net.wire.hpack import HeaderBlock, HeaderTemplate
from orbit_net.wire.keepalive import KeepaliveSettings, ServerKeepaliveSettings
from orbit_net.wire.life import LifeSettings
from orbit_net.wire.limits import FloodLimits
from orbit_net.wire.patience import PatienceSettings
from orbit_net.wire.settings import WireSettings
from orbit_net.wire.traffic import Traffic

__all__ = [
    "Connection",
    "ConnectionFailed",
    "Event",
    "FloodLimits",
    "GoAwayReceived",
    "HeaderBlock",
    "HeaderTemplate",
    "HeadersReceived",
    "KeepaliveSettings",
    "LateTrailers",
    "LifeSettings",
    "MessagesReceived",
    "PatienceSettings",
    "PingAcknowledged",
    "ServerKeepaliveSettings",
    "SettingsReceived",
    "StreamEnded",
    "StreamFailed",
    "StreamReset",
    "Traffic",
    "TrailersReceived",
    "WireSettings",
]
