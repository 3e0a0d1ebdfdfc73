"""The log in memory: the entries after a snapshot, which of them are durable, committed, applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orbit_net.raft.membership import Membership
    from orbit_net.raft.messages import Entry, Snapshot

__all__ = ["RaftLog"]


class RaftLog:
    """A log that begins after ``base``: that entry is gone, but its term is known.

    Invariants: ``base <= snapshot.index <= applied <= commit <= last_index`` and ``applied <= stable <= last_index``.
    The snapshot may be ahead of ``base``, so that members that are a little behind need no snapshot.
    """

    def __init__(self, snapshot: Snapshot, entries: Sequence[Entry] = ()) -> None:
        self.snapshot = snapshot
        self.base = snapshot.index
        self.base_term = snapshot.term
        if entries and entries[0].index <= snapshot.index:
            # What the snapshot covers is kept for the others; the term before it is not known, so one entry is spent.
            self.base, self.base_term = entries[0].index, entries[0].term
            entries = entries[1:]
        self._entries: list[Entry] = list(entries)
        self._memberships: list[tuple[int, Membership]] = [(snapshot.index, snapshot.membership)]
        self._note(entry for entry in entries if entry.index > snapshot.index)
        self.commit = self.applied = snapshot.index
        self.stable = self.last_index
        self.restored: Snapshot | None = None
        """A snapshot from the leader that is not handed out yet."""
        self._persisting: int | None = None
        if self.last_index < snapshot.index or [e.index for e in entries] != list(
            range(self.base + 1, self.last_index + 1)
        ):
            raise InternalError(f"the log does not go on from the snapshot at {snapshot.index} without a gap")

    # --- what it holds ---------------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        """The index of the last entry; that of ``base`` when there is none."""
        return self.base + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self.base_term

    def term(self, index: int) -> int | None:
        """Return the term of an entry, or None when it is compacted or not there yet."""
        place = index - self.base
        if 0 < place <= len(self._entries):
            return self._entries[place - 1].term
        return self.base_term if place == 0 else None

    def entry(self, index: int) -> Entry:
        """Return an entry that is there."""
        return self._entries[index - self.base - 1]

    def slice(self, first: int, last: int) -> tuple[Entry, ...]:
        """Return the entries from ``first`` to ``last``, both included."""
        return tuple(self._entries[first - self.base - 1 : max(0, last - self.base)])

    def batch(self, first: int, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return entries from ``first`` on within the limits; one at least if there is one."""
        start = first - self.base - 1
        entries = self._entries[start : start + max_entries]
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry.command)
            if size > max_bytes and count:
                return tuple(entries[:count])
        return tuple(entries)

    def up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends with this entry is at least as up to date as this one (§5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def conflict(self, index: int, term: int) -> int:
        """Return the last index up to ``index`` whose entry may be that of a log that has ``term`` at ``index``.

        Terms only rise along a log, so every entry above it with a larger term cannot match (§5.3, last part).
        """
        index = min(index, self.last_index)
        while index > self.base and self.entry(index).term > term:
            index -= 1
        return index

    @property
    def membership(self) -> Membership:
        """The latest in the log, committed or not (§6: a server always uses the latest configuration in its log)."""
        return self._memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """Where :attr:`membership` stands."""
        return self._memberships[-1][0]

    def membership_at(self, index: int) -> Membership:
        """Return the membership in force after the entry ``index``, which is not before the snapshot."""
        return next(membership for at, membership in reversed(self._memberships) if at <= index)

    # --- how it changes --------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries after the last."""
        self._entries += entries
        self._note(entries)

    def accept(self, prev_index: int, entries: Sequence[Entry]) -> None:
        """Store a leader's entries that follow ``prev_index``, which matches: replace from the first conflict (§5.3).

        Nothing is removed when there is no conflict: the request may be an old one, and what follows acknowledged.
        """
        for place, entry in enumerate(entries):
            if entry.index <= self.base or self.term(entry.index) == entry.term:
                continue
            if entry.index <= self.last_index:
                self._truncate(entry.index)
            self.append(entries[place:])
            return

    def _truncate(self, first: int) -> None:
        if first <= self.commit:
            raise InternalError(f"a committed entry would be replaced: {first} of {self.commit}")
        del self._entries[first - self.base - 1 :]
        while self._memberships[-1][0] >= first:
            self._memberships.pop()
        self.stable = min(self.stable, first - 1)
        if self._persisting is not None:
            self._persisting = min(self._persisting, first - 1)

    def _note(self, entries: Iterable[Entry]) -> None:
        self._memberships += [(entry.index, entry.membership) for entry in entries if entry.membership is not None]

    def commit_to(self, index: int) -> None:
        """Take everything up to ``index`` for committed; never goes back."""
        if index > self.commit:
            if index > self.last_index:
                raise InternalError(f"commit of {index}, but the log ends at {self.last_index}")
            self.commit = index

    def compact(self, snapshot: Snapshot, keep: int) -> None:
        """Adopt this node's own snapshot of applied entries, and forget all but ``keep`` of the entries it covers."""
        if not self.snapshot.index < snapshot.index <= self.applied:
            raise InternalError(f"a snapshot at {snapshot.index}, applied is {self.applied}")
        self.snapshot = snapshot
        current = self.membership_at(snapshot.index)
        self._memberships = [
            (snapshot.index, current),
            *((at, m) for at, m in self._memberships if at > snapshot.index),
        ]
        base = max(self.base, snapshot.index - keep)
        if base > self.base:
            self.base_term = self.entry(base).term
            del self._entries[: base - self.base]
            self.base = base

    def restore(self, snapshot: Snapshot) -> None:
        """Replace everything by a snapshot from the leader (§7)."""
        self.snapshot = self.restored = snapshot
        self.base, self.base_term = snapshot.index, snapshot.term
        self._entries = []
        self._memberships = [(snapshot.index, snapshot.membership)]
        self.commit = self.applied = self.stable = snapshot.index
        if self._persisting is not None:
            self._persisting = 0

    # --- towards storage and the state machine ---------------------------------------------------

    @property
    def unstable(self) -> bool:
        """Whether something is not durable and not on its way to storage."""
        return self._persisting is None and (self.restored is not None or self.stable < self.last_index)

    def persist(self) -> tuple[Snapshot | None, tuple[Entry, ...]]:
        """Hand out what is to become durable; :meth:`persisted` ends it."""
        snapshot, self.restored = self.restored, None
        self._persisting = self.last_index
        return snapshot, self.slice(self.stable + 1, self.last_index)

    def persisted(self) -> None:
        """Take note that what was handed out is durable; what was replaced meanwhile does not count."""
        self.stable = max(self.stable, self._persisting or 0)
        self._persisting = None

    @property
    def applicable(self) -> int:
        """Up to where the state machine may go: committed, and durable here too."""
        return min(self.commit, self.stable)

    def take_committed(self) -> tuple[Entry, ...]:
        """Hand out what is to be applied next."""
        first, self.applied = self.applied + 1, self.applicable
        return self.slice(first, self.applied)

    def __repr__(self) -> str:
        return f"<RaftLog {self.base + 1}–{self.last_index}, commit {self.commit}, applied {self.applied}>"
