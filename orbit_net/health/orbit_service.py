"""``orbit.shared.HealthService`` over a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.health.registry import OVERALL, HealthRegistry, ServingStatus
from orbit_net.proto.orbit.shared import HealthCheckRequest, HealthCheckResponse, HealthCheckResponseServingStatus
from orbit_net.proto.orbit.shared.services import HealthServiceBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["OrbitHealthService"]

_ORBIT: Final = "orbit"
"""The service name that Orbit's clients ask for."""


class OrbitHealthService(HealthServiceBase):
    """What the nodes of a cluster ask each other.

    ``registry`` is shared with a :class:`GrpcHealthService` so that both tell the same; without one it makes its own.
    The service ``orbit`` is registered as SERVING unless the registry already knows it.
    """

    def __init__(self, registry: HealthRegistry | None = None) -> None:
        self.registry = HealthRegistry() if registry is None else registry
        if self.registry.get(_ORBIT) is None:
            self.registry.set(_ORBIT, ServingStatus.SERVING)

    async def set_serving_status(self, status: ServingStatus) -> None:
        """Set the status of the node: of the whole server and of the service ``orbit``."""
        self.registry.set(OVERALL, status)
        self.registry.set(_ORBIT, status)

    async def check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        """Answer with the status now; NOT_FOUND for a service that is not registered."""
        status = self.registry.get(request.service)
        if status is None:
            raise GRPCError(Status.NOT_FOUND, f"the service {request.service!r} is not registered")
        return _response(status)

    async def watch(self, request: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        """Send the status now and after each change, until the client leaves; SERVICE_UNKNOWN while not registered."""
        async for status in self.registry.watch(request.service):
            yield _response(status)


def _response(status: ServingStatus) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponseServingStatus(status.value))
