"""The client side: channels, calls and stubs."""

from orbit_net.client.backoff import BackoffPolicy
from orbit_net.client.breaker import BreakerPolicy, BreakerState
from orbit_net.client.call import ClientStream
from orbit_net.client.channel import Channel
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.endpoint import PooledConnection
from orbit_net.client.hedging import HedgeTally
from orbit_net.client.outgoing import OutgoingCall
from orbit_net.client.pool import ConnectionPool
from orbit_net.client.pool_stats import ConnectionStats, EndpointStats, PoolStats
from orbit_net.client.service_config import HedgingPolicy, MethodConfig, RetryPolicy, RetryThrottling, ServiceConfig
from orbit_net.client.settings import ChannelSettings, RetrySettings
from orbit_net.client.stub import ResponseStream, Stub
from orbit_net.client.subchannel import Subchannel
from orbit_net.client.tally import CallTally
from orbit_net.client.transport import TransportConfig
from orbit_net.context import detached
from orbit_net.net import Certificate, TlsConfig
from orbit_net.wire import KeepaliveSettings
from orbit_net.wire.metadata import Metadata, MetadataLike

__all__ = [
    "BackoffPolicy",
    "BreakerPolicy",
    "BreakerState",
    "CallTally",
    "Certificate",
    "Channel",
    "ChannelSettings",
    "ClientStream",
    "ConnectionPool",
    "ConnectionStats",
    "Connectivity",
    "EndpointStats",
    "HedgeTally",
    "HedgingPolicy",
    "KeepaliveSettings",
    "Metadata",
    "MetadataLike",
    "MethodConfig",
    "OutgoingCall",
    "PoolStats",
    "PooledConnection",
    "ResponseStream",
    "RetryPolicy",
    "RetrySettings",
    "RetryThrottling",
    "ServiceConfig",
    "Stub",
    "Subchannel",
    "TlsConfig",
    "TransportConfig",
    "detached",
]
