"""What a server says of itself as a whole."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio

from orbit_net.load.rate import Rate
from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport
from orbit_net.server.load import load_field, record

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoadMetrics"]

_SAMPLE = 1.0
"""Seconds over which the use of the processor is measured at least."""
_REUSED = 0.1
"""Seconds for which a report that was made is told again."""


class LoadMetrics:
    """Values that are set, and those that are measured: calls and errors a second, and the use of the processor.

    An event loop has one thread, so what it runs out of first is one processor: the part of that which the process uses
    is its ``application_utilization``, unless it is set. ``clock`` and ``cpu`` give the time, and how long the process
    has computed, in seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = anyio.current_time, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._set: dict[str, Any] = {}
        self._calls = Rate()
        self._errors = Rate()
        self._sample: tuple[float, float] | None = None
        self._busy = 0.0
        self._made = 0.0
        self._field: tuple[bytes, bytes] | None = None

    def set(self, **values: Any) -> None:
        """Set values by the names of :meth:`~orbit_net.server.ServerStream.record_load`; None unsets one.

        A value that is set is told instead of the measured one. Raises :class:`LocalProtocolError` for a bad one.
        """
        record(OrcaLoadReport(), values)
        self._set.update(values)
        self._field = None

    def count(self, *, ok: bool) -> None:
        """Count a call that has ended."""
        now = self._clock()
        self._calls.add(now)
        if not ok:
            self._errors.add(now)

    def report(self) -> OrcaLoadReport:
        """Return the values of this moment."""
        now = self._clock()
        report = OrcaLoadReport()
        measured = {
            "qps": self._calls.per_second(now),
            "eps": self._errors.per_second(now),
            "application_utilization": self._measure(now),
        }
        record(report, {**measured, **{name: value for name, value in self._set.items() if value is not None}})
        return report

    def field(self) -> tuple[bytes, bytes]:
        """Return the field of trailers that holds the report, made anew after a tenth of a second.

        Making it costs as much as a quarter of a call, and no client looks at weights more often.
        """
        now = self._clock()
        if self._field is None or now - self._made >= _REUSED:
            self._made, self._field = now, load_field(self.report())
        return self._field

    def _measure(self, now: float) -> float:
        cpu = self._cpu()
        if self._sample is None:
            self._sample = now, cpu
        began, used = self._sample
        if now - began >= _SAMPLE:
            self._busy = max(0.0, (cpu - used) / (now - began))
            self._sample = now, cpu
        return self._busy

    def __repr__(self) -> str:
        now = self._clock()
        return f"<LoadMetrics {self._calls.per_second(now):.1f} calls/s, {self._errors.per_second(now):.1f} errors/s>"
