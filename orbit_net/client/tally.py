"""How many calls a channel has made, for whoever asks for it to be counted."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from orbit_net.status import Status

if TYPE_CHECKING:
    from orbit_net.client.attempt import Watcher
    from orbit_net.net import Failure

__all__ = ["CallTally"]


class CallTally:
    """Calls that began, and how those of them that are over have ended; ``started_at`` is in seconds since the epoch.

    A call is one call however often it is tried, also when it never reached a server. One whose caller left early has
    failed.
    """

    __slots__ = ("failed", "started", "started_at", "succeeded")

    def __init__(self) -> None:
        self.started = 0
        self.succeeded = 0
        self.failed = 0
        self.started_at = 0.0

    def watch(self, watcher: Watcher | None) -> Watcher:
        """Return what counts one call, and tells ``watcher`` what it is told."""
        return _Counted(self, watcher)

    def __repr__(self) -> str:
        return f"<CallTally {self.started} started, {self.succeeded} succeeded, {self.failed} failed>"


class _Counted:
    __slots__ = ("_begun", "_tally", "_watcher")

    def __init__(self, tally: CallTally, watcher: Watcher | None) -> None:
        self._tally = tally
        self._watcher = watcher
        self._begun = False

    def begun(self) -> Failure | None:
        self._begun = True
        self._tally.started += 1
        self._tally.started_at = time()
        refusal = None if self._watcher is None else self._watcher.begun()
        if refusal is not None:
            self._tally.failed += 1
        return refusal

    def ended(self, status: Status | None) -> None:
        if self._begun:
            if status is Status.OK:
                self._tally.succeeded += 1
            else:
                self._tally.failed += 1
        if self._watcher is not None:
            self._watcher.ended(status)
