"""Reports without calls (gRFC A51, "Out-of-Band")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from orbit_net.errors import ConfigurationError
from orbit_net.proto.xds.service.orca.v3.services import OpenRcaServiceBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orbit_net.load.metrics import LoadMetrics
    from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport
    from orbit_net.proto.xds.service.orca.v3 import OrcaLoadReportRequest

__all__ = ["OrcaService"]


class OrcaService(OpenRcaServiceBase):
    """``xds.service.orca.v3.OpenRcaService`` over metrics.

    A client gets a report at once and then as often as it asks, but not more often than every ``minimum_interval``
    seconds: the 30 s of other servers keep the cost of many clients low.
    """

    def __init__(self, metrics: LoadMetrics, *, minimum_interval: float = 30.0) -> None:
        if not 0 < minimum_interval < float("inf"):
            raise ConfigurationError(f"minimum_interval is {minimum_interval!r}; it must be above 0 seconds")
        self._metrics = metrics
        self._minimum = minimum_interval

    async def stream_core_metrics(self, request: OrcaLoadReportRequest) -> AsyncIterator[OrcaLoadReport]:
        """Send reports until the client has enough."""
        wished = request.report_interval
        interval = max(self._minimum, 0.0 if wished is None else wished.total_seconds())
        names = set(request.request_cost_names)
        while True:
            report = self._metrics.report()
            if names:
                report.request_cost = {name: cost for name, cost in report.request_cost.items() if name in names}
            yield report
            await anyio.sleep(interval)
