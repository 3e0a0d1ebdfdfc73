"""How a connection ends in agreement: GOAWAY in two steps, with a PING between them (RFC 9113 §6.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpclib.const import Status
from h2.errors import ErrorCodes

from orbit_net.errors import LocalProtocolError
from orbit_net.wire.events import ConnectionFailed, StreamFailed
from orbit_net.wire.frames import MAX_STREAM_ID, goaway_frame, ping_frame

if TYPE_CHECKING:
    from orbit_net.errors import RemoteProtocolError
    from orbit_net.wire.connection import Connection
    from orbit_net.wire.events import Event

__all__ = ["Goodbye"]

_DRAIN_PING: Final = b"orbitend"


class Goodbye:
    """What we have said of our end, and the pings whose answers are due: one of them is a step of the end.

    ``sent`` is the last stream id of our last GOAWAY, or None.
    """

    __slots__ = ("_connection", "_pings", "_reason", "sent")

    def __init__(self, connection: Connection) -> None:
        self.sent: int | None = None
        self._connection = connection
        self._pings: set[bytes] = set()
        self._reason = b""

    def ping(self, opaque: bytes) -> None:
        """Send a PING."""
        if len(opaque) != 8:
            raise LocalProtocolError(f"a PING carries 8 bytes, not {len(opaque)}")
        self._pings.add(opaque)
        self._connection.outbox.control(ping_frame(opaque))

    def ping_acknowledged(self, opaque: bytes) -> bool:
        """Take the answer to a PING; False when none was due."""
        if opaque not in self._pings:
            return False
        self._pings.remove(opaque)
        if opaque == _DRAIN_PING:
            self.finish()
        return True

    @property
    def half_said(self) -> bool:
        """Whether the first GOAWAY was sent and the second was not."""
        return self.sent == MAX_STREAM_ID

    def begin(self, reason: bytes) -> None:
        """Say that the end is near, and ask for a sign that this was read."""
        if self.sent is None:
            self._reason = reason
            self._say(MAX_STREAM_ID, ErrorCodes.NO_ERROR, reason)
            self.ping(_DRAIN_PING)

    def finish(self) -> None:
        """Take no new stream from now on, if the end was begun."""
        if self.half_said:
            self.say(ErrorCodes.NO_ERROR, self._reason)

    def say(self, error_code: int, reason: bytes) -> None:
        """Send the last GOAWAY, unless it would only repeat what was said."""
        last = self._connection.last_peer_stream_id
        if error_code or self.sent != last:
            self._say(last, error_code, reason)

    def fail(self, error: RemoteProtocolError) -> list[Event]:
        """End at once because of ``error``, and say so."""
        connection = self._connection
        connection.failure = error
        self._say(connection.last_peer_stream_id, error.error_code, str(error).encode("utf-8", "replace")[:256])
        return [*self.fail_streams(f"the connection failed: {error}"), ConnectionFailed(error)]

    def fail_streams(self, reason: str) -> list[Event]:
        """Abandon what is open; return the events for those that were told nothing yet."""
        failed: list[Event] = []
        for stream in list(self._connection.streams.values()):
            if not (stream.closed or stream.deaf):
                failed.append(StreamFailed(stream.id, Status.UNAVAILABLE, reason))
            self._connection.abandon(stream)
        return failed

    def _say(self, last: int, error_code: int, reason: bytes) -> None:
        self.sent = last
        self._connection.outbox.control(goaway_frame(last, error_code, reason))
