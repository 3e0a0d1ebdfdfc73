"""The weight of one backend, from what it reports (gRFC A58). Pure; the time is an argument."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbit_net.client.balance.settings import WeightedRoundRobin

__all__ = ["ReportedWeight"]


class ReportedWeight:
    """What the last report says, and since when there were reports."""

    __slots__ = ("_last", "_since", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._since = math.inf
        self._last = -math.inf

    def report(self, now: float, *, utilization: float, qps: float, eps: float, penalty: float) -> None:
        """Take notice of a report: calls and errors a second, and the fraction in use; without those it is ignored."""
        if not (0 < utilization < math.inf and 0 < qps < math.inf):
            return
        extra = eps / qps * penalty if 0 < eps < math.inf else 0.0
        self._weight = qps / (utilization + extra)
        if self._since == math.inf:
            self._since = now
        self._last = now

    def restart(self) -> None:
        """Begin the blackout anew: the connection is a new one, and so may the server be."""
        self._since = math.inf

    def now(self, now: float, settings: WeightedRoundRobin) -> float:
        """Return the weight, or 0 where there is none: during the blackout, or when the last report is too old."""
        if now - self._last >= settings.expiry:
            self._since = math.inf
            return 0.0
        return self._weight if now - self._since >= settings.blackout else 0.0

    def __repr__(self) -> str:
        return f"weight {self._weight:.4g}"
