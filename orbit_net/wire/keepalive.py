"""Keepalive: whether the peer is still there, and how often it may ask us (gRFC A8, A9). Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from h2.errors import ErrorCodes

from orbit_net.errors import ConfigurationError, RemoteProtocolError

__all__ = [
    "LEAST_TIME",
    "MAX_STRIKES",
    "TOO_MANY_PINGS",
    "Keepalive",
    "KeepaliveAction",
    "KeepaliveSettings",
    "PingStrikes",
    "ServerKeepaliveSettings",
]

_NEVER: Final = float("inf")

LEAST_TIME: Final = 10.0
"""Seconds: a client that asks for a shorter keepalive time gets this one (gRFC A8, "Basic Keepalive")."""
MAX_STRIKES: Final = 2
"""Pings too early that a server bears; the next one ends the connection (gRFC A8, "Server Enforcement")."""
TOO_MANY_PINGS: Final = b"too_many_pings"
"""The debug data of the GOAWAY that ends it; a client that reads it pings half as often (gRFC A8)."""


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """How a client finds out that a silent server is gone (gRFC A8); seconds.

    ``time`` after the last byte read a PING is sent, and the connection ends unless anything arrives within
    ``timeout``. It is off (None) by default, because a server may answer unasked pings with a GOAWAY; less than 10 s is
    raised to 10 s. Without ``permit_without_calls`` only a connection with open calls is tried. ``tcp_time`` is how
    long a line may be silent before the system asks (``SO_KEEPALIVE``, and as often until it gives up); None leaves the
    system's setting, two hours as a rule.
    """

    time: float | None = None
    timeout: float = 20.0
    permit_without_calls: bool = False
    tcp_time: float | None = 60.0

    def __post_init__(self) -> None:
        _positive(self, "time", "timeout", "tcp_time")

    @property
    def interval(self) -> float:
        """Seconds of silence before a PING: ``time``, but at least 10; infinite when keepalive is off."""
        return _NEVER if self.time is None else max(self.time, LEAST_TIME)


@dataclass(frozen=True, slots=True)
class ServerKeepaliveSettings:
    """How a server finds out that a silent client is gone (gRFC A9), and how often it may be asked (A8); seconds.

    Two hours of silence cost next to nothing and free what a client left behind that vanished without a word; None
    never asks. A client may ping once in ``min_ping_interval`` (five minutes), and without open calls once in two
    hours unless ``permit_without_calls``; sending it data or headers forgives everything. ``tcp_time`` as in
    :class:`KeepaliveSettings`.
    """

    time: float | None = 7_200.0
    timeout: float = 20.0
    min_ping_interval: float = 300.0
    permit_without_calls: bool = False
    tcp_time: float | None = 60.0

    def __post_init__(self) -> None:
        _positive(self, "time", "timeout", "tcp_time")
        if not self.min_ping_interval >= 0:
            raise ConfigurationError(f"min_ping_interval is {self.min_ping_interval!r}; it must not be negative")

    @property
    def interval(self) -> float:
        """Seconds of silence before a PING; infinite for never."""
        return _NEVER if self.time is None else self.time


class KeepaliveAction(Enum):
    """What :meth:`Keepalive.act` wants done."""

    NOTHING = "nothing"
    PING = "ping"
    CLOSE = "close"


class Keepalive:
    """Decides when to ask the peer and when to give it up.

    ``without_calls``: whether a connection without open calls is asked too. Any byte is an answer: a peer that sends
    is alive, whatever it sends.
    """

    __slots__ = ("_asked_at", "interval", "timeout", "without_calls")

    def __init__(self, interval: float, timeout: float, *, without_calls: bool) -> None:
        self.interval = interval
        self.timeout = timeout
        self.without_calls = without_calls
        self._asked_at: float | None = None

    def due(self, last_read: float, *, calls: bool) -> float:
        """Return when :meth:`act` has something to do, should nothing arrive until then."""
        if self._asked_at is not None and last_read <= self._asked_at:
            return self._asked_at + self.timeout
        return last_read + self.interval if calls or self.without_calls else _NEVER

    def act(self, now: float, last_read: float, *, calls: bool) -> KeepaliveAction:
        """Return what to do at ``now``; after PING a ping must be sent, after CLOSE the connection is over."""
        if self._asked_at is not None and last_read > self._asked_at:
            self._asked_at = None
        if now < self.due(last_read, calls=calls):
            return KeepaliveAction.NOTHING
        if self._asked_at is not None:
            return KeepaliveAction.CLOSE
        self._asked_at = now
        return KeepaliveAction.PING


_WITHOUT_CALLS: Final = 7_200.0
"""Seconds between the pings of a client without calls (gRFC A8, "Server Enforcement")."""


class PingStrikes:
    """Counts the pings of a client that come too early."""

    __slots__ = ("_last", "_min_interval", "_permit_without_calls", "strikes")

    def __init__(self, settings: ServerKeepaliveSettings) -> None:
        self.strikes = 0
        self._min_interval = settings.min_ping_interval
        self._permit_without_calls = settings.permit_without_calls
        self._last = -_NEVER

    def ping(self, now: float, *, calls: bool, answered: bool) -> None:
        """Judge a PING; raises :class:`RemoteProtocolError` for one too many.

        ``answered``: data or headers were sent since the one before, and this may measure how fast they came.
        """
        last, self._last = self._last, now
        if answered:
            self.strikes = 0
            return
        least = self._min_interval if calls or self._permit_without_calls else _WITHOUT_CALLS
        if now - last < least:
            self.strikes += 1
            if self.strikes > MAX_STRIKES:
                raise RemoteProtocolError(TOO_MANY_PINGS.decode(), ErrorCodes.ENHANCE_YOUR_CALM)


def _positive(settings: KeepaliveSettings | ServerKeepaliveSettings, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ConfigurationError(f"keepalive {name} is {value!r}; it must be above 0 seconds")
