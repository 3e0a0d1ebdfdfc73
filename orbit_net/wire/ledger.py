"""Who owes whom how many bytes of receive window: the connection's window and those of all its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.wire.credit import ReceiveWindow
from orbit_net.wire.frames import DEFAULT_MAX_FRAME_SIZE, window_update_frame
from orbit_net.wire.grammar import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbit_net.wire.outbox import Outbox
    from orbit_net.wire.stream import Stream

__all__ = ["Ledger"]


class Ledger:
    """Keeps both windows of every received byte, and queues the WINDOW_UPDATE frames.

    Each method that may queue one returns whether it did. ``dry`` is where the connection's window counts as run dry.
    """

    __slots__ = ("_nobody_waits", "_outbox", "_streams", "dry", "loan", "window")

    def __init__(self, size: int, loan: int, streams: Mapping[int, Stream], outbox: Outbox) -> None:
        self.window = ReceiveWindow(size)
        self.dry = DEFAULT_MAX_FRAME_SIZE
        self.loan = loan
        self._streams = streams
        self._outbox = outbox
        self._nobody_waits = True  # found by the last walk over all streams, and true until somebody expects again

    def take(self, stream: Stream, size: int) -> bool:
        """The application took ``size`` bytes of a stream."""
        size = min(size, stream.unread)
        stream.unread -= size
        announced = self.drop(size)
        if stream.receive_phase is not Phase.DONE:
            increment = stream.receive_window.credit(size)
            if increment:
                self._outbox.control(window_update_frame(stream.id, increment))
                return True
        return announced

    def drop(self, size: int) -> bool:
        """Nobody will read ``size`` bytes: the connection gets them back."""
        increment = self.window.credit(size)
        if increment:
            self._outbox.control(window_update_frame(0, increment))
            return True
        return False

    def grow_connection(self, size: int) -> None:
        """Let the peer have ``size`` bytes on the way on the connection, if that is more than now."""
        more = size - self.window.size
        if more > 0:
            self.window.resize(size)
            self._outbox.control(window_update_frame(0, more))

    def settle(self, stream: Stream) -> None:
        """Nobody will read any more of a stream."""
        self.drop(stream.unread)
        stream.unread = 0

    def expect(self, stream: Stream) -> bool:
        """Somebody waits for the next message of a stream: one larger than the window is granted the rest."""
        stream.wanted = True
        self._nobody_waits = False
        relieved = self.relieve()
        return (stream.assembler.missing > 0 and self.lend(stream)) or relieved

    def relieve(self) -> bool:
        """Keep unread streams from holding up one that somebody reads: lend when the connection's window runs dry.

        What they can take of the loan is bounded by their own windows, so this ends.
        """
        if self.window.available >= self.dry or self._nobody_waits:
            return False
        if not any(stream.wanted for stream in self._streams.values()):
            self._nobody_waits = True
            return False
        self._outbox.control(window_update_frame(0, self.window.lend(self.dry + self.loan)))
        return True

    def lend(self, stream: Stream) -> bool:
        """Let the message under way arrive although it is larger than the windows."""
        missing = stream.assembler.missing
        queued = False
        for stream_id, window in ((stream.id, stream.receive_window), (0, self.window)):
            increment = window.lend(missing)
            if increment:
                self._outbox.control(window_update_frame(stream_id, increment))
                queued = True
        return queued
