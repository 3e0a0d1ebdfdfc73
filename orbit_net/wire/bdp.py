"""The bandwidth-delay product, measured by PING: how large a window has to be to keep a long, fast line full.

A window smaller than what fits on the line makes the sender wait for credit, however fast everybody is; windows that
are large everywhere would let every peer fill our memory. So they begin small and grow where a round trip is seen to
deliver about as much as they allow. Pure; the time is an argument.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MOST_WINDOW", "BandwidthEstimator"]

MOST_WINDOW: Final = 16_777_216
"""Bytes: the largest window that an estimate may ask for; gRPC's other implementations stop here too."""
_WORTH_ASKING: Final = 65_536
"""Bytes that must arrive before a round trip is measured; less says nothing about a line. So calls with small messages
never cause a PING, and none is sent while nothing arrives.
"""
_NEARLY_FULL: Final = 2 / 3
"""What part of the window a round trip must have delivered for the window to be what limits it."""
_GROWTH: Final = 2
"""How much larger than what arrived the next window is: the truth may be more than the window let through."""


class BandwidthEstimator:
    """Counts the bytes that arrive during one PING after another; at most one is under way.

    ``window`` is the size that the windows have now, ``limit`` the one they may reach.
    """

    __slots__ = ("_asked", "_bandwidth", "_received", "_round_trip", "limit", "window")

    def __init__(self, window: int, limit: int = MOST_WINDOW) -> None:
        self.window = window
        self.limit = limit
        self._asked: float | None = None
        self._received = 0
        self._round_trip = 0.0
        self._bandwidth = 0.0

    def received(self, size: int, now: float) -> bool:
        """Count ``size`` bytes; True when a PING has to be sent with them read."""
        self._received += size
        if self._asked is not None or self._received < _WORTH_ASKING or self.window >= self.limit:
            return False
        self._asked = now
        self._received = 0
        return True

    def answered(self, now: float) -> int | None:
        """The PING was answered: return the size that the windows have to grow to, or None when they are enough."""
        if self._asked is None:
            return None
        sample, trip = self._received, max(now - self._asked, 1e-6)
        self._asked = None
        self._received = 0
        # A single trip may be slow because the peer is: an average over some eight says more.
        self._round_trip = trip if not self._round_trip else self._round_trip + (trip - self._round_trip) / 8
        bandwidth = sample / self._round_trip
        faster = bandwidth > self._bandwidth
        self._bandwidth = max(self._bandwidth, bandwidth)
        if not faster or sample < self.window * _NEARLY_FULL:
            return None
        self.window = min(_GROWTH * sample, self.limit)
        return self.window
