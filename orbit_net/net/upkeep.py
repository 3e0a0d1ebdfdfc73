"""What has to happen on a connection when nothing happens: one task that sleeps until the next thing is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from orbit_net.wire.bdp import BandwidthEstimator
from orbit_net.wire.keepalive import Keepalive, KeepaliveAction, KeepaliveSettings
from orbit_net.wire.life import Life, LifeSettings
from orbit_net.wire.patience import Patience, PatienceSettings

if TYPE_CHECKING:
    from orbit_net.net.connection import Connection
    from orbit_net.wire.keepalive import ServerKeepaliveSettings

__all__ = ["Upkeep", "UpkeepSettings"]

_KEEPALIVE_PING: Final = b"orbitliv"
_PROBE: Final = b"orbitbdp"
_DRAIN_ANSWER: Final = 5.0
"""Seconds that a peer has for the one PING of a drain; it may be gone, and a drain has to come to its end."""
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class UpkeepSettings:
    """The policies of one connection, for its driver; users set them in ChannelSettings and ServerSettings."""

    keepalive: KeepaliveSettings | ServerKeepaliveSettings = field(default_factory=KeepaliveSettings)
    life: LifeSettings = field(default_factory=LifeSettings)
    patience: PatienceSettings = field(default_factory=PatienceSettings)
    adaptive_window: bool = False


class Upkeep:
    """Executes the pure policies of :mod:`orbit_net.wire` on one connection that was made at ``born``.

    ``dormant`` means that a call may have to be told to :meth:`nudge`: keepalive waits for one. ``released_at`` is when
    the last call ended, kept by the connection while ``counts_idle``.
    """

    def __init__(self, connection: Connection, settings: UpkeepSettings, *, born: float, chance: float) -> None:
        wire, keepalive = connection.wire, settings.keepalive
        without_calls = not wire.client or keepalive.permit_without_calls
        self.dormant = False
        self.counts_idle = settings.life.max_idle is not None and not wire.client
        self.released_at = born
        self.estimator: BandwidthEstimator | None = None
        if settings.adaptive_window:
            self.estimator = BandwidthEstimator(wire.settings.stream_window)
        self._connection = connection
        self._wire = wire
        self._keepalive = Keepalive(keepalive.interval, keepalive.timeout, without_calls=without_calls)
        self._life = Life(settings.life, born=born, chance=chance)
        self._patience = Patience(wire, settings.patience, born=born)
        self._idle_since: float | None = born
        self._opened = 0
        self._drain_due = _NEVER
        self._stall = settings.patience.stall
        self._writes = 0
        self._writing_since = born
        self.scope = anyio.CancelScope()
        self._nudged: anyio.Event | None = None

    async def run(self) -> None:
        """Act whenever something is due, until ``scope`` is cancelled."""
        with self.scope:
            while True:
                self._nudged = anyio.Event()
                with anyio.CancelScope(deadline=self.act(anyio.current_time())):
                    await self._nudged.wait()

    def nudge(self) -> None:
        """Look again now: something has begun."""
        if self._nudged is not None:
            self._nudged.set()

    def act(self, now: float) -> float:
        """Do what is due at ``now``; return when to come again."""
        connection = self._connection
        if not connection.lives:
            return _NEVER
        calls = connection.open_streams > 0
        self._note_idleness(now, calls=calls)
        connection.deliver(self._patience.check(now))
        self._keep_alive(now, calls=calls)
        self._grow_old(now)
        self._watch_writer(now)
        self._finish_drain(now)
        connection.flush()
        return self._due(now, calls=calls)

    def _due(self, now: float, *, calls: bool) -> float:
        if not self._connection.lives:
            return _NEVER
        return min(
            self._patience.due(now),
            self._keepalive.due(self._wire.guard.now, calls=calls),
            # With calls now, it cannot be idle for long enough before this.
            self._life.due(now if self._idle_since is None else self._idle_since),
            self._drain_due,
        )

    def _note_idleness(self, now: float, *, calls: bool) -> None:
        """Find out since when there are no calls.

        A client's last call ended with the last read, if any call has been open since the last look: so no call has to
        tell the time. Bytes that answer our own pings are no calls.
        """
        wire = self._wire
        opened = wire.next_stream_id if wire.client else wire.highest_peer_stream_id
        if calls:
            self._idle_since = None
        elif self._idle_since is None or opened != self._opened:
            self._idle_since = max(wire.guard.now, self.released_at)
        if calls:
            self.released_at = now
        self._opened = opened

    def _keep_alive(self, now: float, *, calls: bool) -> None:
        keepalive = self._keepalive
        match keepalive.act(now, self._wire.guard.now, calls=calls):
            case KeepaliveAction.PING:
                self._wire.ping(_KEEPALIVE_PING)
                self._wire.traffic.keepalives += 1
            case KeepaliveAction.CLOSE:
                self._connection.give_up(
                    f"keepalive: the peer did not answer a ping within {keepalive.timeout:g} s", b"keepalive_timeout"
                )
        self.dormant = not calls and not keepalive.without_calls and keepalive.interval < _NEVER

    def _grow_old(self, now: float) -> None:
        farewell = self._life.act(now, self._idle_since)
        if farewell is None:
            return
        if farewell.abort:
            self._connection.close("the connection reached its maximum age", debug=farewell.reason)
        elif self._wire.client:
            self._connection.close("the connection was idle", debug=farewell.reason)
        else:
            self._connection.drain(farewell.reason)

    def _watch_writer(self, now: float) -> None:
        """Give up a peer that reads nothing at all (CVE-2019-9511); its windows may be as open as can be."""
        writer = self._connection.writer
        if writer.idle or writer.writes != self._writes:
            self._writes, self._writing_since = writer.writes, now
        elif now >= self._writing_since + self._stall:
            self._connection.give_up(f"the peer read nothing for {self._stall:g} s", b"slow_reader")

    def _finish_drain(self, now: float) -> None:
        goodbye = self._wire.goodbye
        if not goodbye.half_said:
            self._drain_due = _NEVER
        elif self._drain_due == _NEVER:
            self._drain_due = now + _DRAIN_ANSWER
        elif now >= self._drain_due:
            self._drain_due = _NEVER
            goodbye.finish()

    # --- the adaptive window ---------------------------------------------------------------------

    def received(self, size: int, now: float) -> None:
        """Count what has arrived, and measure the line when that says something."""
        if self.estimator is not None and self.estimator.received(size, now):
            self._wire.ping(_PROBE)

    def answered(self, opaque: bytes, now: float) -> None:
        """Take the answer to one of our pings."""
        if opaque == _KEEPALIVE_PING:
            self.nudge()  # what is due next is no longer the end
        elif opaque == _PROBE and self.estimator is not None:
            size = self.estimator.answered(now)
            if size is not None:
                self._wire.grow_windows(size)
