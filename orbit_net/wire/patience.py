"""How long a peer may take over its formalities, and over reading what it asked for. Pure; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import ConfigurationError, RemoteProtocolError

if TYPE_CHECKING:
    from orbit_net.wire.connection import Connection
    from orbit_net.wire.events import Event
    from orbit_net.wire.stream import Stream

__all__ = ["Patience", "PatienceSettings"]


@dataclass(frozen=True, slots=True)
class PatienceSettings:
    """How long a slow peer is waited for; seconds.

    ``handshake`` is for everything up to the peer's SETTINGS, the handshake of TLS included, and ``frame`` for a header
    block, or any other frame than DATA, from its first byte to its last: 10 s are long on any line, and whoever takes
    longer on purpose holds memory and a socket. ``acknowledgement`` is for our SETTINGS (RFC 9113 §6.5.3).
    ``stall`` is for a reader: a stream that its peer's windows let send nothing for 60 s is reset
    (CVE-2019-9511, CVE-2019-9517), infinity waits for ever.
    """

    handshake: float = 10.0
    frame: float = 10.0
    acknowledgement: float = 20.0
    stall: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not value > 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds")


class Patience:
    """Watches one :class:`~orbit_net.wire.connection.Connection`; ``born`` is when it was made.

    :meth:`check` has to be called at :meth:`due` at the latest. That is a turn in every ``frame`` seconds even when
    nothing is slow, so that no frame and no message has to start a clock: what began since the last turn is not yet
    due at the next.
    """

    __slots__ = ("_born", "_settings", "_stalled", "_wire")

    def __init__(self, wire: Connection, settings: PatienceSettings, *, born: float) -> None:
        self._wire = wire
        self._settings = settings
        self._born = born
        self._stalled: dict[int, tuple[object, float]] = {}

    def due(self, now: float) -> float:
        """Return when to check next."""
        settings, wire = self._settings, self._wire
        due = now + min(settings.frame, settings.acknowledgement, settings.stall)
        if not wire.peer.received:
            return min(due, self._born + settings.handshake)
        if not wire.settings_acknowledged:
            due = min(due, self._born + settings.acknowledgement)
        if wire.unfinished_since is not None:
            due = min(due, wire.unfinished_since + settings.frame)
        return min([due, *[since + settings.stall for _, since in self._stalled.values()]])

    def check(self, now: float) -> list[Event]:
        """End what has taken too long, streams or the connection, and return the events for that."""
        wire = self._wire
        events = wire.receiver.events = []
        try:
            self._check_formalities(now)
            for stream in self._find_stalled(now):
                text = f"the peer let nothing be sent for {self._settings.stall:g} s"
                wire.receiver.break_stream(stream, ErrorCodes.ENHANCE_YOUR_CALM, text, status=Status.RESOURCE_EXHAUSTED)
        except RemoteProtocolError as error:
            events += wire.fail(error)
        return events

    def _check_formalities(self, now: float) -> None:
        """Raise :class:`RemoteProtocolError` when the connection is over.

        Before the peer's SETTINGS it ends with NO_ERROR: the peer broke no rule, it is late.
        """
        settings, wire = self._settings, self._wire
        if not wire.peer.received:
            if now >= self._born + settings.handshake:
                raise RemoteProtocolError(f"no SETTINGS within {settings.handshake:g} s", ErrorCodes.NO_ERROR)
            return
        if not wire.settings_acknowledged and now >= self._born + settings.acknowledgement:
            text = f"SETTINGS were not acknowledged within {settings.acknowledgement:g} s"
            raise RemoteProtocolError(text, ErrorCodes.SETTINGS_TIMEOUT)
        if wire.unfinished_since is not None and now >= wire.unfinished_since + settings.frame:
            raise RemoteProtocolError(f"a frame or header block took more than {settings.frame:g} s")

    def _find_stalled(self, now: float) -> list[Stream]:
        """Compare what the peer has granted with the last turn; a grant is progress, however small."""
        wire, before = self._wire, self._stalled
        if not wire.outbox.data_size:
            if before:
                self._stalled = {}
            return []
        self._stalled = {}
        found = []
        for stream in wire.streams.values():
            queued = stream.out_size or stream.held
            if not queued or (stream.send_window > 0 and wire.outbox.window > 0):
                continue
            mark = (stream.grants, wire.outbox.grants if stream.send_window > 0 else None)
            seen, since = before.get(stream.id, (None, now))
            if seen != mark:
                since = now
            elif now >= since + self._settings.stall:
                found.append(stream)
                continue
            self._stalled[stream.id] = (mark, since)
        return found
