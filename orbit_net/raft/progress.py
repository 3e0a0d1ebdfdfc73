"""What a leader knows about one other log, and how fast it may send to it."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

__all__ = ["Progress", "Replication"]

_SNAPSHOT_PATIENCE: Final = 20
"""Election timeouts: longer than a sensible snapshot travels; a transport that sees it fail says so earlier."""


class Replication(Enum):
    """How entries go to a member.

    PROBE ──acknowledged──▶ REPLICATE
      ▲ ◀──rejected, unreachable──┘ │
      └──installed, unreachable── SNAPSHOT ◀──what it needs is compacted── (either)
    """

    PROBE = "probe"
    """One request at a time, to find where the logs agree."""
    REPLICATE = "replicate"
    """A window of requests, sent before the earlier ones are answered."""
    SNAPSHOT = "snapshot"
    """Nothing, until the snapshot is installed."""


class Progress:
    """The state of one member in the eyes of the leader.

    Invariants: ``0 <= match < next``; entries up to ``match`` are durable at the member. ``window`` is the number of
    requests with entries that may be unanswered.
    """

    __slots__ = (
        "acked",
        "active",
        "inflight",
        "match",
        "next",
        "pending_snapshot",
        "sent_commit",
        "state",
        "stuck",
        "window",
    )

    def __init__(self, next_index: int, window: int, match: int = 0) -> None:
        self.match = match
        self.next = next_index
        self.window = window
        self.state = Replication.PROBE
        self.active = False
        """Whether anything was heard since the last look (check-quorum)."""
        self.acked = 0
        """The last round of heartbeats that the member has answered."""
        self.sent_commit = 0
        self.inflight: deque[int] = deque()
        """The last index of each unanswered request with entries, rising; at most one while probing."""
        self.pending_snapshot = 0
        self.stuck = 0
        """Ticks since the snapshot was sent."""

    @property
    def paused(self) -> bool:
        """Whether nothing but heartbeats may be sent."""
        if self.state is Replication.REPLICATE:
            return len(self.inflight) >= self.window
        return self.state is Replication.SNAPSHOT or bool(self.inflight)

    def sent(self, last_index: int) -> None:
        """Take note of a request with entries up to ``last_index``."""
        self.inflight.append(last_index)
        if self.state is Replication.REPLICATE:
            self.next = last_index + 1

    def sent_snapshot(self, index: int) -> None:
        """Take note of a snapshot on its way."""
        self.state = Replication.SNAPSHOT
        self.inflight.clear()
        self.pending_snapshot = index
        self.stuck = 0

    def acknowledge(self, match: int) -> bool:
        """Take note that the logs agree up to ``match``; return whether that is news."""
        if match < self.match:
            return False
        news = match > self.match
        self.match = match
        if self.state is Replication.PROBE or (self.state is Replication.SNAPSHOT and match >= self.pending_snapshot):
            self.state = Replication.REPLICATE
            self.inflight.clear()
            self.next = match + 1
        elif self.state is Replication.REPLICATE:
            self.next = max(self.next, match + 1)
            while self.inflight and self.inflight[0] <= match:
                self.inflight.popleft()
        else:
            self.next = max(self.next, match + 1)
        return news

    def reject(self, rejected: int, hint: int) -> bool:
        """Take note that the log differs at ``rejected`` and may agree at ``hint``; return whether that was current."""
        if self.state is Replication.REPLICATE:
            if rejected <= self.match:
                return False  # a delayed answer: what it denies was acknowledged since
            self.probe()
            return True
        if self.state is Replication.SNAPSHOT or rejected != self.next - 1:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.inflight.clear()
        return True

    def probe(self) -> None:
        """Look for the place where the logs agree again, from what is known for certain."""
        self.next = self.match + 1
        self.state = Replication.PROBE
        self.inflight.clear()
        self.pending_snapshot = 0

    def give_up_snapshot(self, election_ticks: int) -> bool:
        """Let one tick pass; return whether a snapshot was on its way for so long that it is taken for lost."""
        if self.state is not Replication.SNAPSHOT:
            return False
        self.stuck += 1
        if self.stuck < _SNAPSHOT_PATIENCE * election_ticks:
            return False
        self.probe()
        return True

    def __repr__(self) -> str:
        busy = f", {len(self.inflight)} in flight" if self.inflight else ""
        return f"<Progress {self.state.value} match {self.match} next {self.next}{busy}>"
