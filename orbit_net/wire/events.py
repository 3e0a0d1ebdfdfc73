"""What :meth:`orbit_net.wire.Connection.receive_data` reports.

Events name the stream by its id and carry what the driver needs, nothing more. The two that come with every message
are plain slotted classes: creating a frozen one costs twice as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpclib.const import Status

    from orbit_net.errors import RemoteProtocolError
    from orbit_net.wire.hpack import HeaderBlock

__all__ = [
    "ConnectionFailed",
    "Event",
    "GoAwayReceived",
    "HeadersReceived",
    "LateTrailers",
    "MessagesReceived",
    "PingAcknowledged",
    "SettingsReceived",
    "StreamEnded",
    "StreamFailed",
    "StreamReset",
    "TrailersReceived",
]


class Event:
    """The base of all events."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class HeadersReceived(Event):
    """A request began (server) or a response began (client)."""

    stream_id: int
    block: HeaderBlock


@dataclass(slots=True, eq=False)
class MessagesReceived(Event):
    """Whole messages arrived, in order; a compressed one is a :class:`orbit_net.wire.assembler.CompressedMessage`.

    Each holds ``len(message) + 5`` bytes of both windows until ``return_credit`` gives them back.
    """

    stream_id: int
    messages: list[bytes]


@dataclass(slots=True, eq=False)
class TrailersReceived(Event):
    """The response ended with its status; alone, without headers before it, it is a trailers-only response."""

    stream_id: int
    block: HeaderBlock


@dataclass(frozen=True, slots=True)
class LateTrailers(Event):
    """The peer had answered before it learned that we abandoned the stream, which is forgotten already.

    Reported only, and once, for the streams in ``awaited`` of the :class:`~orbit_net.wire.receiver.Receiver`.
    """

    stream_id: int
    block: HeaderBlock


@dataclass(frozen=True, slots=True)
class StreamEnded(Event):
    """The peer will send no more on this stream and sent no trailers."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset(Event):
    """The peer abandoned this stream; no more events follow for it."""

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class StreamFailed(Event):
    """This stream cannot go on, and the connection can; no more events follow for it.

    ``reset`` tells that a RST_STREAM has been queued already. ``unprocessed`` tells that the peer's application is
    certain never to have seen the call (GOAWAY, RFC 9113 §6.8), so it may be sent again elsewhere.
    """

    stream_id: int
    status: Status
    reason: str
    reset: bool = False
    unprocessed: bool = False


@dataclass(frozen=True, slots=True)
class SettingsReceived(Event):
    """The peer's settings were applied and acknowledged."""

    first: bool


@dataclass(frozen=True, slots=True)
class PingAcknowledged(Event):
    """The peer answered the PING that carried these eight bytes."""

    opaque: bytes


@dataclass(frozen=True, slots=True)
class GoAwayReceived(Event):
    """The peer takes no new streams; those up to ``last_stream_id`` go on to their end."""

    last_stream_id: int
    error_code: int
    debug_data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Event):
    """The peer broke the protocol: a GOAWAY is queued, and nothing more is read from it. The last event of all."""

    error: RemoteProtocolError
