"""How busy a server is, as it tells its clients (ORCA, gRFC A51)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from orbit_net.codec import Codec
from orbit_net.errors import LocalProtocolError
from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport
from orbit_net.wire.metadata import encode_binary

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Load", "load_field", "merged", "record"]

_HEADER: Final = b"endpoint-load-metrics-bin"
_codec: Final = Codec()

_NUMBERS: Final = {
    "cpu_utilization": "cpu_utilization",
    "memory_utilization": "mem_utilization",
    "application_utilization": "application_utilization",
    "qps": "rps_fractional",
    "eps": "eps",
}
_MAPPINGS: Final = {"costs": "request_cost", "utilization": "utilization", "named_metrics": "named_metrics"}


class Load(Protocol):
    """What a server says of itself as a whole: :class:`orbit_net.load.LoadMetrics`."""

    def report(self) -> OrcaLoadReport:
        """Return a report of this moment, which may be changed."""

    def field(self) -> tuple[bytes, bytes]:
        """Return the field of trailers with a report that is not much older."""


def record(report: OrcaLoadReport, values: Mapping[str, Any]) -> None:
    """Put ``values`` into a report; those that are None stay as they are, mappings are merged.

    Raises :class:`LocalProtocolError` for a number that is negative or not finite; the report is unchanged then.
    """
    for name, value in values.items():
        for number in value.values() if name in _MAPPINGS and value is not None else [value]:
            if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
                raise LocalProtocolError(f"the load {name} is {number!r}; it must be a number")
            if number is not None and (not math.isfinite(number) or (number < 0 and name != "named_metrics")):
                raise LocalProtocolError(f"the load {name} is {number!r}; it must be a number of at least 0")
    for name, value in values.items():
        if value is None:
            continue
        if name in _MAPPINGS:
            getattr(report, _MAPPINGS[name]).update(value)
        else:
            setattr(report, _NUMBERS[name], float(value))


def merged(whole: OrcaLoadReport, call: OrcaLoadReport) -> OrcaLoadReport:
    """Return the report of the server with what a call has recorded instead, where it has."""
    for name in _NUMBERS.values():
        value = getattr(call, name)
        if value:
            setattr(whole, name, value)
    for name in _MAPPINGS.values():
        getattr(whole, name).update(getattr(call, name))
    return whole


def load_field(report: OrcaLoadReport) -> tuple[bytes, bytes]:
    """Return the field of trailers that holds a report."""
    return _HEADER, encode_binary(_codec.encode(report, OrcaLoadReport))
