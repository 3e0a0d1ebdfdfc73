"""One endpoint as a balancer sees it: its connection, its health, and how its calls go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from orbit_net.client.balance.weight import ReportedWeight
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.load import LoadReader
from orbit_net.client.response import outcome_of
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Hashable

    from orbit_net.client.balance.outlier import Record
    from orbit_net.client.balance.settings import WeightedRoundRobin
    from orbit_net.client.line import Pending
    from orbit_net.client.load import LoadReport
    from orbit_net.client.resolve.resolution import ResolvedEndpoint
    from orbit_net.client.subchannel import Subchannel
    from orbit_net.net import Stream

__all__ = ["Backend", "Owner"]


class Owner(Protocol):
    """Who chooses among backends."""

    def moved(self, backend: Backend) -> None:
        """The connection of ``backend`` has another state."""

    def changed(self, backend: Backend, before: Connectivity) -> None:
        """The backend has another state than ``before``."""


class Backend:
    """A subchannel, and what keeps it from being picked though it is connected.

    ``healthy`` is what the server says of itself: None while it has not, True also where it is not asked. ``ejected``
    says whether outlier detection leaves it out. :attr:`state` is what policies go by; it stays TRANSIENT_FAILURE from
    a failure until there is a connection (gRFC A61, "sticky"), so that a channel whose servers are all gone says so.
    """

    __slots__ = (
        "_owner",
        "_reader",
        "ejected",
        "endpoint",
        "failing",
        "healthy",
        "key",
        "metrics",
        "name",
        "record",
        "reported",
        "row",
        "scope",
        "state",
        "subchannel",
    )

    def __init__(self, key: Hashable, endpoint: ResolvedEndpoint, owner: Owner) -> None:
        self.key = key
        self.endpoint = endpoint
        self.subchannel: Subchannel
        """Set at once by the owner, which needs the backend to ask for one."""
        self.name = endpoint.name
        self.state = Connectivity.IDLE
        self.healthy: bool | None = True
        self.ejected = False
        self.record: Record | None = None
        self.metrics: WeightedRoundRobin | None = None
        """How reports in trailers count; None where nobody reads them."""
        self.reported: ReportedWeight | None = None
        self.row: dict[Pending, None] | None = None
        """The calls that wait in the row of its subchannel."""
        self.scope: anyio.CancelScope | None = None
        """Of the tasks that belong to the connection of the moment."""
        self.failing = False
        """Whether it has failed, and was not connected since."""
        self._owner = owner
        self._reader: LoadReader | None = None

    @property
    def active(self) -> int:
        """How many calls are open or wait for a stream."""
        return self.subchannel.active

    @property
    def watched(self) -> bool:
        """Whether the ends of its calls say something that is wanted."""
        return self.record is not None or (self.metrics is not None and not self.metrics.out_of_band)

    @property
    def why(self) -> str:
        """Why it cannot be picked."""
        if self.subchannel.error is not None:
            return str(self.subchannel.error)
        if self.healthy is False:
            return f"{self.name} says that it is not serving"
        return f"{self.name} is ejected" if self.ejected else f"{self.name} is {self.state.value}"

    def moved(self, _: Subchannel) -> None:
        """Take notice that the connection has another state: the watcher of the subchannel."""
        self._owner.moved(self)

    def be_healthy(self, healthy: bool | None) -> None:
        """Take notice of what the server says of itself."""
        self.healthy = healthy
        self.look()

    def look(self) -> None:
        """Find out the state, and tell of another one."""
        state = self._judge(self.subchannel.state)
        if state is not self.state:
            before, self.state = self.state, state
            self._owner.changed(self, before)

    def _judge(self, state: Connectivity) -> Connectivity:
        if state is Connectivity.READY:
            self.failing = False
            if self.ejected or self.healthy is False:
                return Connectivity.TRANSIENT_FAILURE
            return state if self.healthy else Connectivity.CONNECTING
        # One that is shut down belongs to a pool that was closed under the channel.
        if state in (Connectivity.TRANSIENT_FAILURE, Connectivity.SHUTDOWN):
            self.failing = True
        return Connectivity.TRANSIENT_FAILURE if self.failing else state

    def released(self, stream: Stream) -> None:
        """Count how a call has ended, and read the report in its trailers."""
        trailers = stream.trailers
        if self.record is not None:
            failure = stream.failure
            if trailers is not None:
                self.record.count(ok=outcome_of(trailers).status is Status.OK)
            elif failure is not None and failure.status is not Status.CANCELLED:
                # A call that its caller left says nothing of the server.
                self.record.count(ok=False)
        if self.metrics is not None and trailers is not None and not self.metrics.out_of_band:
            if self._reader is None:
                self._reader = LoadReader()
            report = self._reader.read(trailers)
            if report is not None:
                self.report(report, self.metrics)

    def report(self, report: LoadReport, settings: WeightedRoundRobin) -> None:
        """Take notice of a report of the server."""
        if self.reported is None:
            self.reported = ReportedWeight()
        self.reported.report(
            anyio.current_time(),
            utilization=report.application_utilization or report.cpu_utilization,
            qps=report.rps_fractional,
            eps=report.eps,
            penalty=settings.error_penalty,
        )

    def __repr__(self) -> str:
        subchannel = self.subchannel
        told = [f"{subchannel.way or self.name} {subchannel.state.value}", f"{subchannel.streams} streams"]
        if self.reported is not None:
            told.append(repr(self.reported))
        elif self.endpoint.weight != 1.0:
            told.append(f"weight {self.endpoint.weight:g}")
        if self.healthy is not True:
            told.append("health unknown" if self.healthy is None else "not serving")
        if self.ejected:
            told.append("ejected")
        if subchannel.error is not None:
            told.append(str(subchannel.error))
        return ", ".join(told)
