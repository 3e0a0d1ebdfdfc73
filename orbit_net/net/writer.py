"""The one task that writes to a connection's byte stream; everybody else only queues."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import anyio

from orbit_net.wire.assembler import PREFIX_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import ByteStream

    from orbit_net.net.stream import Stream
    from orbit_net.wire import Connection as Wire

__all__ = ["Writer"]


class Writer:
    """Writes what the wire has to send, and wakes those who wait for what was sent.

    ``stopping``: nothing more will be queued. ``handed``: the headers of all streams below this id were given to the
    transport. ``crowd``: who waits until less is queued on the connection. ``writes`` counts them; while one does not
    end, it stands still and :attr:`idle` is false.
    """

    __slots__ = ("_flushed", "_idle", "_streams", "_transport", "_wire", "crowd", "handed", "stopping", "writes")

    def __init__(self, wire: Wire, transport: ByteStream, streams: Mapping[int, Stream]) -> None:
        self.crowd: list[tuple[int, int, anyio.Event]] = []
        self.handed = 0
        self.stopping = False
        self.writes = 0
        self._wire = wire
        self._transport = transport
        self._streams = streams
        self._idle: anyio.Event | None = None
        self._flushed: anyio.Event | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return self._idle is not None

    def wake(self) -> None:
        """Say that there may be something to write."""
        idle = self._idle
        if idle is not None:
            self._idle = None
            idle.set()

    async def run(self) -> None:
        """Write until there is nothing left and nothing to come; errors of the byte stream pass through."""
        wire, transport = self._wire, self._transport
        traffic, messages = wire.traffic, 0
        while True:
            data = wire.data_to_send()
            if wire.outbox.drained:
                self._make_room()
            if self._flushed is not None:
                self._flushed.set()
            if self.crowd:
                self.reconsider()
            if data:
                self.handed = wire.next_stream_id
                self.writes += 1
                if traffic.messages_sent != messages:
                    messages = traffic.messages_sent
                    traffic.sent_at = time()
                await transport.send(data)
            elif self.stopping or wire.drained:
                return
            else:
                self._idle = idle = anyio.Event()
                if self.crowd:
                    self.reconsider()
                await idle.wait()

    def _make_room(self) -> None:
        for stream_id in self._wire.take_drained():
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.make_room()

    async def flushed(self) -> None:
        """Wait until everything that is queued now was taken for writing, windows permitting."""
        self._flushed = anyio.Event()
        try:
            await self._flushed.wait()
        finally:
            self._flushed = None

    # --- the connection's share ------------------------------------------------------------------

    def has_turn(self, stream_id: int, size: int) -> bool:
        """Whether a message of ``size`` bytes may be queued now.

        When 4 MiB (``connection_high_water``) are queued on the connection, a message still passes if it is small and
        the first of its stream, or if it can leave at once: else a few streams that their client does not read would
        silence all others.
        """
        wire = self._wire
        if not wire.outbox.crowded:
            return True
        stream = wire.streams.get(stream_id)
        if stream is None:
            return True
        if self._idle is not None and size + PREFIX_SIZE <= min(stream.send_window, wire.outbox.window):
            return True
        return size <= wire.settings.send_high_water and not stream.out_size

    async def turn(self, stream_id: int, size: int) -> None:
        """Wait until that may be, or for nothing in particular."""
        event = anyio.Event()
        place = (stream_id, size, event)
        self.crowd.append(place)
        stream = self._wire.streams[stream_id]
        stream.held = True
        try:
            await event.wait()
        finally:
            stream.held = False
            if place in self.crowd:
                self.crowd.remove(place)

    def reconsider(self) -> None:
        """Call up those whose turn has come, in order; called whenever bytes, windows or streams have changed."""
        outbox = self._wire.outbox
        room = outbox.high_water // 2 - outbox.data_size
        at_once = self._idle is not None
        waiting = []
        for place in self.crowd:
            stream_id, size, event = place
            if room > 0:
                room -= size
            elif at_once and self.has_turn(stream_id, size):
                at_once = False
            else:
                waiting.append(place)
                continue
            event.set()
        self.crowd = waiting

    def dismiss(self) -> None:
        """Let everybody in the crowd look again: the connection is over."""
        for _, _, event in self.crowd:
            event.set()
        self.crowd = []
