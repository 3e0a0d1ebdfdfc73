"""What the peer may still send: one receive window, of a stream or of the connection (RFC 9113 §5.2, §6.9).

Credit goes back when the application takes a message, so unread bytes are bounded by the window. Two rules keep that
from standing still: a message larger than the window is lent the rest as soon as somebody waits for it, and what a
stream leaves unread when it is released returns to the connection.
"""

from __future__ import annotations

from orbit_net.wire.frames import MAX_WINDOW

__all__ = ["ReceiveWindow"]


class ReceiveWindow:
    """``size`` bytes in all; ``available`` to the peer now; ``owed`` taken by us and not announced yet.

    Invariant: ``available + owed + (bytes not taken) == size + lent``. The credit is announced when it reaches half of
    the size, so that one small message does not cost one WINDOW_UPDATE.
    """

    __slots__ = ("available", "lent", "owed", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.available = size
        self.owed = 0
        self.lent = 0

    def charge(self, size: int) -> bool:
        """The peer sent ``size`` bytes; False when it was not allowed to. Nothing is always allowed (§6.9.1)."""
        self.available -= size
        return self.available >= 0 or not size

    def credit(self, size: int) -> int:
        """The application took ``size`` bytes; return the increment to announce now, or 0."""
        if self.lent:
            repaid = min(self.lent, size)
            self.lent -= repaid
            size -= repaid
        self.owed += size
        if self.owed * 2 < self.size:
            return 0
        return self._announce()

    def lend(self, size: int) -> int:
        """Make sure that ``size`` bytes may arrive before anything is taken; return the increment to announce, or 0."""
        lacking = min(size, MAX_WINDOW) - self.available
        if lacking <= 0:
            return 0
        from_owed = min(self.owed, lacking)
        self.lent += lacking - from_owed
        self.owed -= from_owed
        self.available += lacking
        return lacking

    def resize(self, size: int) -> None:
        """Follow a change of our own SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.9.2)."""
        self.available += size - self.size
        self.size = size

    def _announce(self) -> int:
        increment = self.owed
        self.owed = 0
        self.available += increment
        return increment
