"""The client side: channels, calls and stubs."""

from orbit_net.client.backoff import BackoffPolicy
from orbit_net.client.balance import (
    Balancing,
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    SuccessRate,
    WeightedRoundRobin,
)
from orbit_net.client.balance.subchannel_pool import SubchannelPool
from orbit_net.client.call import ClientStream
from orbit_net.client.channel import Channel
from orbit_net.client.config.service_config import (
    HedgingPolicy,
    MethodConfig,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
)
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.outgoing import OutgoingCall
from orbit_net.client.pool.breaker import BreakerPolicy, BreakerState
from orbit_net.client.pool.connection_pool import ConnectionPool
from orbit_net.client.pool.endpoint import PooledConnection
from orbit_net.client.pool.stats import ConnectionStats, EndpointStats, PoolStats
from orbit_net.client.pool.transport import TransportConfig
from orbit_net.client.resolve import (
    NodeListing,
    NodesResolver,
    Resolution,
    ResolvedEndpoint,
    Resolver,
    ResolveSettings,
    register_resolver,
    unregister_resolver,
)
from orbit_net.client.retry.hedging import HedgeTally
from orbit_net.client.settings import ChannelSettings, RetrySettings
from orbit_net.client.stub import ResponseStream, Stub
from orbit_net.client.subchannel import Subchannel
from orbit_net.client.tally import CallTally
from orbit_net.context import detached
from orbit_net.net import Certificate, TlsConfig
from orbit_net.wire import KeepaliveSettings
from orbit_net.wire.metadata import Metadata, MetadataLike

__all__ = [
    "BackoffPolicy",
    "Balancing",
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
    "FailurePercentage",
    "HedgeTally",
    "HedgingPolicy",
    "KeepaliveSettings",
    "LeastRequest",
    "Metadata",
    "MetadataLike",
    "MethodConfig",
    "NodeListing",
    "NodesResolver",
    "OutgoingCall",
    "OutlierDetection",
    "PickFirst",
    "PoolStats",
    "PooledConnection",
    "Resolution",
    "ResolveSettings",
    "ResolvedEndpoint",
    "Resolver",
    "ResponseStream",
    "RetryPolicy",
    "RetrySettings",
    "RetryThrottling",
    "RingHash",
    "RoundRobin",
    "ServiceConfig",
    "Stub",
    "Subchannel",
    "SubchannelPool",
    "SuccessRate",
    "TlsConfig",
    "TransportConfig",
    "WeightedRoundRobin",
    "detached",
    "register_resolver",
    "unregister_resolver",
]
