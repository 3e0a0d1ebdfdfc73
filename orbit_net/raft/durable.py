"""Storage on disk: a log in segments, and two small files that are replaced whole."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from orbit_net.errors import CodecError, StorageError
from orbit_net.raft.encoding import decode_entries, decode_membership, encode_entries, encode_membership
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import Entry, HardState, Snapshot
from orbit_net.raft.segments import Segment, read_records, replace_file, sync_directory, unpack
from orbit_net.raft.storage import Recovered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DurableStorage"]

T = TypeVar("T")

_DATA_SYNC: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)
_SEGMENT_BYTES: Final = 4_194_304
_PREFIX: Final = "log-"


class DurableStorage:
    """Keeps the state of one node in ``directory``, which is made, and locked against a second process.

    - ``log-N``: records of length, CRC-32 and entries; one :meth:`persist` appends one record and waits for the disk.
      A segment of 4 MiB is followed by a new one; those that a snapshot covers are removed.
    - ``state``, ``snapshot``: written beside, synced, renamed.

    A torn record at the end is cut; damage before that is refused. ``sync`` is what makes a file descriptor durable;
    it is a parameter for tests. The first error of the disk ends the storage: after a failed fsync nobody knows what
    the disk holds, so every later call raises :class:`StorageError`.
    """

    blocking = True

    def __init__(self, directory: Path | str, *, sync: Callable[[int], None] | None = None) -> None:
        self._directory = Path(directory)
        self._sync = sync or _DATA_SYNC
        self._segments: list[Segment] = []
        self._lock: int | None = None
        self._failure: Exception | None = None
        self._number = 0
        self.syncs = 0
        """How often the log was synced: entries divided by this is the batching."""

    # --- reading ---------------------------------------------------------------------------------

    def load(self) -> Recovered:
        """Read everything, cut a torn end, and be ready to append. Raises :class:`StorageError`."""
        try:
            return self._guard(self._load)
        except StorageError:
            self.close()
            raise

    def _load(self) -> Recovered:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._acquire()
        hard_state = self._read_state()
        snapshot = self._read_snapshot()
        entries = self._read_log()
        if entries and entries[-1].term > hard_state.term:
            raise StorageError(f"{self._directory} has entries of term {entries[-1].term}, but its state is older")
        kept = _following(snapshot, entries, self._directory)
        empty = not entries and snapshot == Snapshot() and hard_state == HardState()
        if entries and not kept:
            self._drop_segments(self._segments)  # a snapshot was installed, and the crash came before the clearing
        return Recovered(hard_state, snapshot, tuple(kept), empty)

    def _acquire(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"{self._directory} is in use by another process") from error

    def _read_state(self) -> HardState:
        path = self._directory / "state"
        if not path.exists():
            return HardState()
        fields = json.loads(unpack(path.read_bytes(), path))
        return HardState(fields["term"], fields["vote"])

    def _read_snapshot(self) -> Snapshot:
        path = self._directory / "snapshot"
        if not path.exists():
            return Snapshot()
        head, _, data = unpack(path.read_bytes(), path).partition(b"\n")
        fields = json.loads(head)
        membership = decode_membership(fields["membership"].encode()) or Membership()
        return Snapshot(fields["index"], fields["term"], membership, data)

    def _read_log(self) -> list[Entry]:
        paths = sorted(self._directory.glob(f"{_PREFIX}*"))
        entries: list[Entry] = []
        for path in paths:
            records, size = read_records(path, last=path is paths[-1])
            highest = 0
            for record in records:
                batch = decode_entries(record)
                _join(entries, batch, path)
                highest = max(highest, batch[-1].index)
            self._segments.append(Segment(path, size, highest))
        if paths:
            self._number = int(paths[-1].name.removeprefix(_PREFIX))
        return entries

    # --- writing ---------------------------------------------------------------------------------

    def persist(self, hard_state: HardState | None, snapshot: Snapshot | None, entries: Sequence[Entry]) -> None:
        """Store what is given, and return when the disk has it."""
        self._guard(lambda: self._persist(hard_state, snapshot, entries))

    def _persist(self, hard_state: HardState | None, snapshot: Snapshot | None, entries: Sequence[Entry]) -> None:
        if hard_state is not None:
            text = json.dumps({"term": hard_state.term, "vote": hard_state.vote})
            replace_file(self._directory / "state", text.encode(), self._sync)
        if snapshot is not None:
            self._write_snapshot(snapshot)
            self._drop_segments(self._segments)
        if entries:
            segment = self._segments[-1] if self._segments else self._roll()
            if segment.size >= _SEGMENT_BYTES:
                segment = self._roll()
            segment.append(encode_entries(entries), entries[-1].index, self._sync)
            self.syncs += 1

    def compact(self, snapshot: Snapshot, first: int) -> None:
        """Store the snapshot and remove the segments that only have entries before ``first``."""
        self._guard(lambda: self._compact(snapshot, first))

    def _compact(self, snapshot: Snapshot, first: int) -> None:
        self._write_snapshot(snapshot)
        covered = []
        for segment in self._segments[:-1]:
            if segment.last >= first:
                break
            covered.append(segment)
        self._drop_segments(covered)

    def _write_snapshot(self, snapshot: Snapshot) -> None:
        membership = encode_membership(snapshot.membership).decode()
        head = json.dumps({"index": snapshot.index, "term": snapshot.term, "membership": membership})
        replace_file(self._directory / "snapshot", head.encode() + b"\n" + snapshot.data, self._sync)

    def _roll(self) -> Segment:
        self._number += 1
        segment = Segment(self._directory / f"{_PREFIX}{self._number:012}")
        self._segments.append(segment)
        sync_directory(self._directory, self._sync)
        return segment

    def _drop_segments(self, segments: list[Segment]) -> None:
        """Remove from the oldest on: a crash between leaves an end of the log, never a hole."""
        for segment in list(segments):
            segment.close()
            segment.path.unlink()
            self._segments.remove(segment)
        sync_directory(self._directory, self._sync)

    # --- ends ------------------------------------------------------------------------------------

    def _guard(self, action: Callable[[], T]) -> T:
        """Run one operation; after an error there is no other."""
        if self._failure is not None:
            raise StorageError(f"{self._directory} failed before: {self._failure}") from self._failure
        try:
            return action()
        except (OSError, CodecError, ValueError, KeyError) as error:
            self._failure = error
            raise StorageError(f"{self._directory}: {error}") from error
        except StorageError as error:
            self._failure = error
            raise

    def close(self) -> None:
        """Close the files and give up the lock."""
        for segment in self._segments:
            segment.close()
        self._segments = []
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __repr__(self) -> str:
        return f"<DurableStorage {self._directory}, {len(self._segments)} segments, {self.syncs} syncs>"


def _join(entries: list[Entry], batch: list[Entry], path: Path) -> None:
    """Add a batch, which replaces what is at its first index and above."""
    if not batch or [entry.index for entry in batch] != list(range(batch[0].index, batch[0].index + len(batch))):
        raise StorageError(f"{path} has a record whose entries do not follow each other")
    first = batch[0].index
    if entries:
        if first > entries[-1].index + 1:
            raise StorageError(f"{path} goes on with entry {first} after {entries[-1].index}: a segment is missing")
        del entries[max(0, first - entries[0].index) :]
    entries += batch


def _following(snapshot: Snapshot, entries: list[Entry], directory: Path) -> list[Entry]:
    """Return the entries that belong to the snapshot: none of them when it was installed over another log."""
    if not entries or entries[-1].index < snapshot.index:
        return []
    first = entries[0].index
    if first > snapshot.index + 1:
        raise StorageError(f"{directory} lacks the entries between the snapshot at {snapshot.index} and {first}")
    if first <= snapshot.index and entries[snapshot.index - first].term != snapshot.term:
        return []
    return entries
