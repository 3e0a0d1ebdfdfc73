"""The state of one stream: both phases, both windows, the message under way and the bytes still to be sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from orbit_net.wire.assembler import Assembler
from orbit_net.wire.credit import ReceiveWindow
from orbit_net.wire.grammar import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.wire.hpack import Field, HeaderTemplate

__all__ = ["END", "Stream", "Tail"]

Tail = tuple["HeaderTemplate | None", "Sequence[Field]"]
"""How our direction ends after its last byte: trailers as template and extra fields, or :data:`END`."""

END: Final[Tail] = (None, ())
"""End with an END_STREAM flag and no trailers."""


class Stream:
    """One stream of one connection.

    Invariants: ``out_size`` is the sum of the pieces in ``out`` less ``out_offset``; ``unread`` is what the peer has
    sent and the application has not taken, in flow-controlled bytes. ``deaf``: whatever still arrives is dropped at
    once. ``wanted``: somebody waits for the next message. ``watched``: somebody waits for ``out`` to drain.
    ``content_left``: what is still to come of the peer's content-length, if it gave one. ``grants`` counts how often
    the peer opened ``send_window``. ``held``: a message waits until less is queued on the connection. ``released``: the
    application is done with the stream, which is forgotten as soon as it is closed.
    """

    __slots__ = (
        "assembler",
        "content_left",
        "deaf",
        "grants",
        "held",
        "id",
        "out",
        "out_offset",
        "out_size",
        "queued",
        "receive_phase",
        "receive_window",
        "released",
        "send_phase",
        "send_window",
        "tail",
        "unread",
        "wanted",
        "watched",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int, message_limit: int) -> None:
        self.id = stream_id
        self.send_phase = Phase.START
        self.receive_phase = Phase.START
        self.send_window = send_window
        self.grants = 0
        self.held = False
        self.receive_window = ReceiveWindow(receive_window)
        self.content_left: int | None = None
        self.unread = 0
        self.wanted = False
        self.deaf = False
        self.released = False
        self.assembler = Assembler(message_limit)
        self.out: deque[bytes] = deque()
        self.out_offset = 0
        self.out_size = 0
        self.tail: Tail | None = None
        self.queued = False
        self.watched = False

    @property
    def closed(self) -> bool:
        """Whether neither side has anything to send on it any more."""
        return self.send_phase is Phase.DONE and self.receive_phase is Phase.DONE and self.tail is None

    def discard_output(self) -> int:
        """Forget what was not sent yet; return how many bytes that were."""
        size = self.out_size
        self.out.clear()
        self.out_offset = self.out_size = 0
        self.tail = None
        return size

    def cut(self, size: int) -> list[bytes | memoryview]:
        """Remove the next ``size`` bytes of output (1 <= size <= out_size) and return them as pieces, uncopied."""
        self.out_size -= size
        if not self.out_size and not self.out_offset:
            whole: list[bytes | memoryview] = list(self.out)
            self.out.clear()
            return whole
        pieces: list[bytes | memoryview] = []
        out = self.out
        while size:
            piece = out[0]
            rest = len(piece) - self.out_offset
            if rest <= size:
                pieces.append(memoryview(piece)[self.out_offset :] if self.out_offset else piece)
                out.popleft()
                self.out_offset = 0
                size -= rest
            else:
                pieces.append(memoryview(piece)[self.out_offset : self.out_offset + size])
                self.out_offset += size
                size = 0
        return pieces

    def __repr__(self) -> str:
        phases = f"sending {self.send_phase.name}, receiving {self.receive_phase.name}"
        return f"<Stream {self.id}: {phases}, {self.out_size} bytes queued, {self.unread} unread>"
