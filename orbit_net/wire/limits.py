"""Counters against floods: pure, with the time as an argument.

Each bucket answers one kind of abuse with GOAWAY(ENHANCE_YOUR_CALM) (RFC 9113 §10.5). What an honest and busy peer
sends in proportion to real traffic never counts: acknowledgements, pings between data, window updates for what we sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes

from orbit_net.errors import ConfigurationError, RemoteProtocolError

if TYPE_CHECKING:
    from orbit_net.wire.keepalive import PingStrikes

__all__ = ["FloodGuard", "FloodLimits", "TokenBucket"]


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """How much of what costs us more than the peer is borne before the connection is ended.

    ``resets`` are RST_STREAM frames received, and those that the peer's own errors make us send (CVE-2023-44487,
    CVE-2025-8671); ``control`` frames are PING, SETTINGS, PRIORITY and unknown ones (CVE-2019-9512, -9513, -9515);
    ``empty`` is how many DATA frames in a row may carry nothing (CVE-2019-9518); ``control_backlog`` is how many bytes
    of unsent answers are held before reading pauses.
    """

    resets: int = 200
    resets_per_second: float = 20.0
    control: int = 1_000
    control_per_second: float = 100.0
    empty: int = 10
    continuations: int = 64
    control_backlog: int = 65_536

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value <= 0:
                raise ConfigurationError(f"FloodLimits.{name} is {value!r}; it must be positive")


class TokenBucket:
    """``size`` tokens at first, refilled at ``rate`` tokens a second."""

    __slots__ = ("_filled_at", "rate", "size", "tokens")

    def __init__(self, size: float, rate: float) -> None:
        self.size = size
        self.rate = rate
        self.tokens = size
        self._filled_at: float | None = None

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        if self._filled_at is not None:
            self.tokens = min(self.size, self.tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def give(self, tokens: float) -> None:
        """Put tokens back, up to the size."""
        self.tokens = min(self.size, self.tokens + tokens)


_UPDATES_PER_FRAME: Final = 4
"""Window updates that one DATA frame of ours may honestly cause: stream and connection, at its start and its end."""


class FloodGuard:
    """Counts what one peer does; each method raises :class:`RemoteProtocolError` when a limit is passed.

    ``answered``: headers or data were sent since the last PING. ``strikes`` judges the pings too, where there is one.
    """

    __slots__ = (
        "_control",
        "_due_updates",
        "_empty_run",
        "_resets",
        "_strikes",
        "_updates",
        "answered",
        "limits",
        "now",
        "useful",
    )

    def __init__(self, limits: FloodLimits, strikes: PingStrikes | None = None) -> None:
        self.limits = limits
        self.answered = False
        self._strikes = strikes
        self.now = 0.0
        self.useful = 0
        self._resets = TokenBucket(limits.resets, limits.resets_per_second)
        self._control = TokenBucket(limits.control, limits.control_per_second)
        self._updates = TokenBucket(limits.control, limits.control_per_second)
        self._due_updates = 0
        self._empty_run = 0

    def reset(self) -> None:
        """Count a RST_STREAM that the peer sent or provoked."""
        if not self._resets.take(self.now):
            raise _calm(f"more than {self.limits.resets} streams were reset")

    def call_opened(self) -> None:
        """Allow the headers and trailers that may come for a call of ours after we have given it up."""
        self.useful += 2

    def call_completed(self) -> None:
        """Allow one more reset for a call that was answered: who uses the answers may also abandon some."""
        self._resets.give(1)
        self.answered = True

    def control(self) -> None:
        """Count a frame that does no work for any call."""
        if not self._control.take(self.now):
            raise _calm(f"more than {self.limits.control} control frames")

    def rider(self) -> None:
        """Count a frame that honest peers send along with useful ones, unless as many of those came before it.

        That is a PING (bandwidth probes ride on data), or a RST_STREAM for a call that was answered before it came.
        """
        if self.useful:
            self.useful = min(self.useful, self.limits.control) - 1
        else:
            self.control()

    def ping(self, *, calls: bool) -> None:
        """Count a PING; ``calls`` tells whether the peer has calls open."""
        if self._strikes is not None:
            self._strikes.ping(self.now, calls=calls, answered=self.answered)
            self.answered = False
        self.rider()

    def window_update(self) -> None:
        """Count a WINDOW_UPDATE that no DATA of ours explains."""
        if self._due_updates:
            self._due_updates -= 1
        elif not self._updates.take(self.now):
            raise _calm(f"more than {self.limits.control} window updates for nothing")

    def data_sent(self, frames: int) -> None:
        """Allow the window updates that our own DATA frames will cause, however late and many at once they come."""
        self._due_updates += frames * _UPDATES_PER_FRAME
        self.answered = True

    def data(self, size: int) -> None:
        """Count a DATA frame of ``size`` bytes of payload."""
        if size:
            self.useful += 1
            self._empty_run = 0
        else:
            self._empty_run += 1
            if self._empty_run > self.limits.empty:
                raise _calm(f"more than {self.limits.empty} empty DATA frames in a row")


def _calm(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"flood: {what}", ErrorCodes.ENHANCE_YOUR_CALM)
