"""How many connections a server takes. Pure; the time is an argument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from orbit_net.errors import ConfigurationError

__all__ = ["Admission", "ConnectionLimits"]

_LOG_INTERVAL: Final = 1.0
"""Seconds between two lines in the log about connections that were refused; a flood of them must not flood the log."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be at a time; more are closed as soon as they are accepted (CVE-2023-4785).

    ``total`` of 1,000 stays below the 1,024 file descriptors that a process usually has. ``per_peer`` of 256 counts
    those from one IP address: one client cannot take all, and a proxy with many users still fits. Connections over Unix
    sockets have no address, and those of :meth:`Server.serve_stream` no limit.
    """

    total: int = 1_000
    per_peer: int = 256

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value < 1:
                raise ConfigurationError(f"ConnectionLimits.{name} is {value!r}; it must be at least 1")


class Admission:
    """Counts the connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.open = 0
        self.refused = 0
        self._limits = limits
        self._of_peer: Counter[str] = Counter()
        self._logged_at = -_LOG_INTERVAL
        self._unlogged = 0

    def enter(self, host: str | None) -> str | None:
        """Count a connection from ``host``, or return why it is refused."""
        if self.open >= self._limits.total:
            return f"there are {self.open} connections already"
        if host is not None:
            if self._of_peer[host] >= self._limits.per_peer:
                return f"there are {self._of_peer[host]} connections from {host} already"
            self._of_peer[host] += 1
        self.open += 1
        return None

    def leave(self, host: str | None) -> None:
        """A connection that had entered has ended."""
        self.open -= 1
        if host is not None:
            self._of_peer[host] -= 1
            if not self._of_peer[host]:
                del self._of_peer[host]

    def to_log(self, now: float) -> int:
        """Count a refusal; return how many the log has to tell now, or 0."""
        self.refused += 1
        self._unlogged += 1
        if now - self._logged_at < _LOG_INTERVAL:
            return 0
        self._logged_at = now
        count, self._unlogged = self._unlogged, 0
        return count

    def __repr__(self) -> str:
        return f"<Admission {self.open} open from {len(self._of_peer)} addresses, {self.refused} refused>"
