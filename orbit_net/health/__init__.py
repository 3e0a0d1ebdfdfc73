"""Health: one registry, and the two services that tell of it."""

from orbit_net.health.grpc_service import GrpcHealthService
from orbit_net.health.orbit_service import OrbitHealthService
from orbit_net.health.registry import OVERALL, HealthRegistry, ServingStatus

__all__ = ["OVERALL", "GrpcHealthService", "HealthRegistry", "OrbitHealthService", "ServingStatus"]
