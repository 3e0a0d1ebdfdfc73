"""What a connection has carried: plain numbers that cost next to nothing to keep, for whoever asks one day."""

from __future__ import annotations

__all__ = ["Traffic"]


class Traffic:
    """Counts of one connection, or the sum of several; seconds since the epoch, 0 for never, are the driver's.

    ``opened`` streams have begun; of them ``failed`` were reset or lost before their end, and ``refused`` were answered
    in good order with a status other than OK. A message counts as sent when it is queued. ``goaway`` is the error code
    of the peer's last GOAWAY, None without one.
    """

    __slots__ = (
        "failed",
        "goaway",
        "keepalives",
        "messages_received",
        "messages_sent",
        "opened",
        "opened_at",
        "received_at",
        "refused",
        "sent_at",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.failed = 0
        self.refused = 0
        self.messages_sent = 0
        self.messages_received = 0
        self.keepalives = 0
        self.opened_at = 0.0
        self.sent_at = 0.0
        self.received_at = 0.0
        self.goaway: int | None = None

    def add(self, other: Traffic) -> None:
        """Take what another connection has carried into the sum."""
        self.opened += other.opened
        self.failed += other.failed
        self.refused += other.refused
        self.messages_sent += other.messages_sent
        self.messages_received += other.messages_received
        self.keepalives += other.keepalives
        self.opened_at = max(self.opened_at, other.opened_at)
        self.sent_at = max(self.sent_at, other.sent_at)
        self.received_at = max(self.received_at, other.received_at)
        self.goaway = other.goaway if other.goaway is not None else self.goaway

    def __repr__(self) -> str:
        streams = f"{self.opened} streams, {self.failed} failed, {self.refused} refused"
        return f"<Traffic {streams}, {self.messages_sent} messages sent, {self.messages_received} received>"
