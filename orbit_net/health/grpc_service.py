"""``grpc.health.v1.Health`` over a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.proto.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListRequest,
    HealthListResponse,
)
from orbit_net.proto.grpc.health.v1.services import HealthBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orbit_net.health.registry import HealthRegistry, ServingStatus

__all__ = ["GrpcHealthService"]

_MAX_LISTED: Final = 100
"""Services that one List answer may hold (gRFC A90)."""


class GrpcHealthService(HealthBase):
    """What load balancers and ``grpc_health_probe`` ask.

    ``Check`` of a service that is not registered gives NOT_FOUND; ``Watch`` says SERVICE_UNKNOWN and stays open.
    """

    def __init__(self, registry: HealthRegistry) -> None:
        self._registry = registry

    async def check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        """Answer with the status now."""
        status = self._registry.get(request.service)
        if status is None:
            raise GRPCError(Status.NOT_FOUND, f"the service {request.service!r} is not registered")
        return _response(status)

    async def watch(self, request: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        """Send the status now and after each change, until the client leaves."""
        async for status in self._registry.watch(request.service):
            yield _response(status)

    async def list(self, request: HealthListRequest) -> HealthListResponse:
        """Answer with all services."""
        statuses = self._registry.statuses
        if len(statuses) > _MAX_LISTED:
            text = f"{len(statuses)} services are registered, and a list holds {_MAX_LISTED}"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        return HealthListResponse(statuses={name: _response(status) for name, status in statuses.items()})


def _response(status: ServingStatus) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponseServingStatus(status.value))
