"""Connections to many endpoints: how many, how old, how well they do, and when one is left alone."""

from orbit_net.client.pool.breaker import BreakerPolicy, BreakerState
from orbit_net.client.pool.stats import ConnectionStats, EndpointStats, PoolStats
from orbit_net.client.pool.transport import TransportConfig

__all__ = ["BreakerPolicy", "BreakerState", "ConnectionStats", "EndpointStats", "PoolStats", "TransportConfig"]
