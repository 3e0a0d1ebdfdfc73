"""One node: a core, a disk that may lose what is not synced, and a state machine."""

from __future__ import annotations

from random import Random

from orbit_net.raft import HardState, RaftCore, Snapshot
from raftsim.checks import ObservedLog

__all__ = ["Disk", "Node"]


class Disk:
    """What survives a crash."""

    def __init__(self, snapshot):
        self.hard_state = HardState()
        self.snapshot = snapshot
        self.entries = []

    def persist(self, hard_state, snapshot, entries):
        """Do what the contract of Storage says, atomically."""
        if hard_state is not None:
            self.hard_state = hard_state
        if snapshot is not None:
            self.snapshot, self.entries = snapshot, []
        if entries:
            if self.entries:
                del self.entries[max(0, entries[0].index - self.entries[0].index) :]
            self.entries += entries

    def compact(self, snapshot, first):
        """Keep the snapshot, and the entries from ``first`` on."""
        self.snapshot = snapshot
        if self.entries:
            del self.entries[: max(0, first - self.entries[0].index)]

    def holds(self, index, term):
        """Whether the entry, or a snapshot of it, is here."""
        if index <= self.snapshot.index:
            return True
        place = index - self.entries[0].index if self.entries else -1
        return 0 <= place < len(self.entries) and self.entries[place].term == term


class Node:
    """A member, up while ``core`` is not None. The state machine is a dict and a hash of everything applied."""

    def __init__(self, name, membership, config, checks, seed):
        self.id = name
        self.config = config
        self.checks = checks
        self.random = Random(seed)
        self.disk = Disk(Snapshot(membership=membership))
        self.core = None
        self.pending = None
        self.generation = 0
        self.checked = 0
        self.start()

    def start(self):
        """Begin with what is on the disk."""
        disk = self.disk
        log = ObservedLog(disk.snapshot, disk.entries)
        log.checks, log.owner = self.checks, self
        self.core = RaftCore(self.id, log, disk.hard_state, config=self.config, random=self.random)
        self.checked = log.commit
        self.restore(disk.snapshot)

    def crash(self, random):
        """Lose everything but the disk; of what was being written a first part may have arrived."""
        ready, self.pending = self.pending, None
        self.core = None
        self.generation += 1
        if ready is None or random.random() < 0.5:
            return
        count = random.randrange(len(ready.entries) + 1)
        self.disk.persist(ready.hard_state, ready.snapshot, ready.entries[:count])

    def restore(self, snapshot):
        """Set the state machine to a snapshot."""
        self.applied = snapshot.index
        self.state, values = snapshot.data or (0, ())
        self.values = dict(values)

    def apply(self, entry):
        """Apply one entry; return what it gives."""
        self.applied = entry.index
        self.state = hash((self.state, entry.index, entry.command))
        self.checks.applied(self, entry.index, self.state)
        if not entry.command:
            return None
        kind, key, argument = entry.command[0]
        if kind == "write":
            self.values[key] = argument
            return None
        expected, new = argument
        succeeds = self.values.get(key) == expected
        if succeeds:
            self.values[key] = new
        return succeeds

    def take_snapshot(self, keep):
        """Compact the log up to what is applied."""
        log = self.core.log
        index = log.applied
        if index <= log.snapshot.index or index <= log.base:
            return
        values = tuple(self.values.items())
        snapshot = Snapshot(index, log.term(index), log.membership_at(index), (self.state, values))
        self.core.compact(snapshot, keep=keep)
        self.disk.compact(snapshot, log.base)
