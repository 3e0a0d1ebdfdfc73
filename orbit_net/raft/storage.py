"""What a node has to remember, and the storage that forgets it with the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orbit_net.raft.messages import Entry, HardState, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MemoryStorage", "Recovered", "Storage"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What storage holds. Entries rise by one; they follow the snapshot, and may begin before its end."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=Snapshot)
    entries: tuple[Entry, ...] = ()
    empty: bool = True
    """Whether nothing was ever stored: only then may a node be given its first members."""


class Storage(Protocol):
    """Keeps one node's state. The contract:

    - When a method returns, what it was given survives a crash of the process and of the machine; when it raises
      :class:`StorageError`, that is not certain, every later call raises too, and the node has to stop.
    - The effects of a call are seen after a crash in this order, and the last may be missing: hard state, snapshot,
      entries. Of entries whose writing was interrupted any first part may be there.
    - What was damaged *before* its end is refused by :meth:`load` with :class:`StorageError`, and never guessed.

    Calls come one at a time, from worker threads when ``blocking`` is true.
    """

    blocking: bool

    def load(self) -> Recovered:
        """Return what is stored; called first, once."""
        ...

    def persist(self, hard_state: HardState | None, snapshot: Snapshot | None, entries: Sequence[Entry]) -> None:
        """Store what is given. A snapshot replaces all entries; entries replace those at their index and above."""
        ...

    def compact(self, snapshot: Snapshot, first: int) -> None:
        """Store the node's own snapshot; entries before ``first`` may be forgotten, at the latest at the next call."""
        ...

    def close(self) -> None:
        """Let go of files; nothing more is stored."""
        ...


class MemoryStorage:
    """Storage for tests, and for clusters that may lose everything when a majority restarts."""

    blocking = False

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._snapshot: Snapshot | None = None
        self._entries: list[Entry] = []

    def load(self) -> Recovered:
        """Return what is stored."""
        empty = self._snapshot is None and not self._entries and self._hard_state == HardState()
        return Recovered(self._hard_state, self._snapshot or Snapshot(), tuple(self._entries), empty)

    def persist(self, hard_state: HardState | None, snapshot: Snapshot | None, entries: Sequence[Entry]) -> None:
        """Store what is given."""
        if hard_state is not None:
            self._hard_state = hard_state
        if snapshot is not None:
            self._snapshot, self._entries = snapshot, []
        if entries:
            if self._entries:
                del self._entries[max(0, entries[0].index - self._entries[0].index) :]
            self._entries += entries

    def compact(self, snapshot: Snapshot, first: int) -> None:
        """Store the snapshot and forget the entries before ``first``."""
        self._snapshot = snapshot
        if self._entries:
            del self._entries[: max(0, first - self._entries[0].index)]

    def close(self) -> None:
        """Do nothing: what is stored can be loaded again."""

    def __repr__(self) -> str:
        return f"<MemoryStorage term {self._hard_state.term}, {len(self._entries)} entries>"
