"""Logs that kill their process, by SIGKILL, at the moment that was asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from orbit_net.transactions import SqliteLog, SqliteVoteLog
from orbit_net.transactions.records import Applied, Decided, Voted

MOMENTS = ("before the decision", "after the decision", "after the vote", "after the commit")
"""A coordinator with all votes, its decision not written, or written and not said; a participant whose yes is written
and not said, or whose new state is written and not acknowledged."""


class Fuse:
    """Says when to die."""

    def __init__(self) -> None:
        self.moment = ""

    def arm(self, moment: str) -> None:
        """Die at ``moment``, the next time that it comes."""
        assert moment in MOMENTS, moment
        self.moment = moment

    def burn(self, moment: str, kind: type, records: Sequence[Any]) -> None:
        """Die if this is the moment."""
        if self.moment == moment and any(isinstance(record, kind) for record in records):
            os.kill(os.getpid(), signal.SIGKILL)


class DyingLog(SqliteLog):
    """Decisions."""

    def __init__(self, path: str, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def write(self, records: Sequence[Any]) -> None:
        """Write, unless the end comes before."""
        self._fuse.burn("before the decision", Decided, records)
        super().write(records)
        self._fuse.burn("after the decision", Decided, records)


class DyingVoteLog(SqliteVoteLog):
    """Votes."""

    def __init__(self, path: str, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def write(self, records: Sequence[Any]) -> None:
        """Write, and perhaps end."""
        super().write(records)
        self._fuse.burn("after the vote", Voted, records)
        self._fuse.burn("after the commit", Applied, records)
