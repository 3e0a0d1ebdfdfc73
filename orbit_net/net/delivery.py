"""From the wire's events to the streams that the calls look at."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from orbit_net.errors import ConnectionLost
from orbit_net.net.stream import Failure, Stream, reset_failure
from orbit_net.wire import (
    ConnectionFailed,
    GoAwayReceived,
    HeadersReceived,
    LateTrailers,
    MessagesReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
)
from orbit_net.wire.keepalive import TOO_MANY_PINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.net.connection import Connection
    from orbit_net.wire import Event

__all__ = ["Delivery"]


class Delivery:
    """Fills the ``streams`` of one connection; ``on_request`` is told of each new one of a server."""

    __slots__ = ("_client", "_connection", "_on_request", "_streams", "_traffic")

    def __init__(
        self, connection: Connection, streams: dict[int, Stream], on_request: Callable[[Stream], None] | None
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._on_request = on_request
        self._client = connection.wire.client
        self._traffic = connection.wire.traffic

    def deliver(self, events: list[Event]) -> None:
        """Hand on what the peer said; called by the reader, never blocks."""
        streams = self._streams
        for event in events:
            kind = type(event)
            if kind is MessagesReceived:
                self._traffic.messages_received += len(event.messages)  # type: ignore[attr-defined]
                self._traffic.received_at = time()
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    stream.inbox.extend(event.messages)  # type: ignore[attr-defined]
                    if stream._waiter is not None:  # noqa: SLF001 - once a message: saves a call
                        stream._waiter.set()  # noqa: SLF001
            elif kind is HeadersReceived:
                self._headers(event)  # type: ignore[arg-type]
            elif kind is TrailersReceived:
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    stream.trailers = event.block  # type: ignore[attr-defined]
                    self._ended(stream)
            elif kind is StreamEnded:
                stream = streams.get(event.stream_id)  # type: ignore[attr-defined]
                if stream is not None:
                    self._ended(stream)
            else:
                self._rare(event)

    def _ended(self, stream: Stream) -> None:
        stream.ended = True
        stream.wake()
        if self._client:
            stream.make_room()  # the response is complete: nobody waits for what else the request had to say

    def _headers(self, event: HeadersReceived) -> None:
        if self._client:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.headers = event.block
                stream.wake()
            return
        self._traffic.opened_at = time()
        stream = Stream(self._connection, event.stream_id)
        stream.headers = event.block
        self._streams[event.stream_id] = stream
        if self._on_request is not None:
            self._on_request(stream)

    def _rare(self, event: Event) -> None:
        match event:
            case StreamReset(stream_id, error_code):
                self._fail_stream(stream_id, reset_failure(error_code))
            case StreamFailed(stream_id, status, reason, _, unprocessed):
                unsent = unprocessed and stream_id >= self._connection.writer.handed
                self._fail_stream(stream_id, Failure(status, reason, unprocessed=unprocessed, unsent=unsent))
            case ConnectionFailed(error):
                self._connection.failed(error)
            case GoAwayReceived(_, error_code, debug):
                self._goaway(error_code, debug)
            case SettingsReceived():
                self._connection.changed()
            case PingAcknowledged(opaque):
                self._connection.answered(opaque)
            case LateTrailers(stream_id, block):
                self._connection.forsaken.answered(stream_id, block)

    def _fail_stream(self, stream_id: int, failure: Failure) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.fail(failure)

    def _goaway(self, error_code: int, debug: bytes) -> None:
        error = None
        calm = error_code == ErrorCodes.ENHANCE_YOUR_CALM
        if error_code != ErrorCodes.NO_ERROR:
            text = debug[:128].decode("utf-8", "replace")
            error = ConnectionLost(
                f"the peer ended the connection with {_name(error_code)}{': ' + text if text else ''}"
            )
        self._connection.told_goodbye(error, pinged_too_often=calm and debug == TOO_MANY_PINGS)


def _name(error_code: int) -> str:
    return ErrorCodes(error_code).name if error_code in list(ErrorCodes) else hex(error_code)
