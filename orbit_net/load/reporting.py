"""Reports with every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.load.metrics import LoadMetrics
    from orbit_net.server import ServerStream

__all__ = ["LoadReporting"]


class LoadReporting:
    """An interceptor of servers: counts calls, and writes the report into the trailers of each.

    What the handler has recorded itself stays. Put it outermost, so that it counts what the others refuse too.

    Example::

        metrics = LoadMetrics()
        Server([Greeter(), OrcaService(metrics)], interceptors=[LoadReporting(metrics)])
    """

    def __init__(self, metrics: LoadMetrics) -> None:
        self.metrics = metrics

    async def __call__(
        self, call: ServerStream[Any, Any], proceed: Callable[[ServerStream[Any, Any]], Awaitable[None]], /
    ) -> None:
        """Run the call, with a report at its end."""
        call.on_end(lambda status, _: self.metrics.count(ok=status is Status.OK))
        call.report_load(self.metrics)
        await proceed(call)
