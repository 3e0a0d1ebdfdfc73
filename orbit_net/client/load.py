"""Reading the load reports of servers (ORCA, gRFC A51)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orbit_net.codec import Codec
from orbit_net.errors import CodecError
from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport as LoadReport
from orbit_net.wire.metadata import decode_binary

if TYPE_CHECKING:
    from orbit_net.wire import HeaderBlock

__all__ = ["LoadReader", "LoadReport"]

_HEADER: Final = b"endpoint-load-metrics-bin"
_codec: Final = Codec()


class LoadReader:
    """Reads the reports of one server, which says the same again for a while."""

    __slots__ = ("_last", "_report")

    def __init__(self) -> None:
        self._last: bytes | None = None
        self._report: LoadReport | None = None

    def read(self, trailers: HeaderBlock) -> LoadReport | None:
        """Return the report in trailers; None without one, or for one that is broken: the call is none the worse."""
        value = trailers.get(_HEADER)
        if value is None:
            return None
        if value != self._last:
            self._last, self._report = value, _decoded(value)
        return self._report


def _decoded(value: bytes) -> LoadReport | None:
    try:
        report: LoadReport = _codec.decode(decode_binary(value), LoadReport)
    except (CodecError, ValueError):
        return None
    return report
