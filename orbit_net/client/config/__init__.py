"""What is configured for each method, in gRPC's JSON or in Python."""

from orbit_net.client.config.service_config import (
    HedgingPolicy,
    MethodConfig,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
)

__all__ = ["HedgingPolicy", "MethodConfig", "RetryPolicy", "RetryThrottling", "ServiceConfig"]
