"""The five properties of figure 3, checked at each change of a node and never twice for the same entry."""

from __future__ import annotations

from orbit_net.raft import RaftLog, Role
from orbit_net.raft.quorum import majority_active

__all__ = ["Broken", "Checks", "ObservedLog"]


class Broken(AssertionError):
    """A property of Raft does not hold."""


class ObservedLog(RaftLog):
    """A log that tells the checks what is appended and removed."""

    checks = None
    owner = None

    def append(self, entries):
        before = self.last_term
        super().append(entries)
        self.checks.appended(self.owner, before, entries)

    def _truncate(self, first):
        self.checks.truncated(self.owner)
        super()._truncate(first)


class Checks:
    """What is known of all nodes since the beginning."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.leaders = {}
        self.votes = {}
        self.entries = {}
        self.committed = {}
        self.states = {}
        self.highest = 0
        self.elections = 0

    def appended(self, owner, before, entries):
        """Log matching: an entry is known by index and term, and what is before it is the same everywhere.

        By induction it is enough to compare an entry and the term before it with those of the node that had it first.
        """
        for entry in entries:
            known = self.entries.setdefault((entry.index, entry.term), (before, entry.command, entry.membership))
            if known != (before, entry.command, entry.membership):
                raise Broken(f"log matching: {owner.id} has {entry} after term {before}, known is {known}")
            if entry.term < before:
                raise Broken(f"log matching: terms fall at {entry} of {owner.id}")
            before = entry.term

    def truncated(self, owner):
        """Leader append-only."""
        if owner.core.role is Role.LEADER:
            raise Broken(f"leader append-only: {owner.id} removes entries of term {owner.core.term}")

    def voted(self, response):
        """One vote a term, restarts included."""
        if response.granted and not response.pre_vote:
            key = response.sender, response.term
            if self.votes.setdefault(key, response.target) != response.target:
                raise Broken(f"two votes: {key} for {self.votes[key]} and {response.target}")

    def look(self, node):
        """Compare one node with what is known; called after each of its steps."""
        core = node.core
        log = core.log
        if core.role is Role.LEADER:
            known = self.leaders.get(core.term)
            if known != core.id:
                if known is not None:
                    raise Broken(f"election safety: {known} and {core.id} lead term {core.term}")
                self.leaders[core.term] = core.id
                self.elections += 1
                if self.highest:
                    self._complete(core, self.committed[self.highest][0])
        if log.commit > node.checked:
            self._commits(node, log)

    def _commits(self, node, log):
        first = max(node.checked, log.base)
        node.checked = log.commit
        for entry in log.slice(first + 1, log.commit):
            known = self.committed.setdefault(entry.index, (entry.term, entry.command))
            if known != (entry.term, entry.command):
                raise Broken(f"state-machine safety: {node.id} commits {entry}, another had {known}")
        if log.commit > self.highest:
            self.highest = log.commit
            self._durable(log)
            for other in self.nodes.values():
                if other.core is not None and other.core.role is Role.LEADER:
                    self._complete(other.core, log.term(self.highest))

    def _complete(self, leader, term):
        """A leader of a later term has what is committed now."""
        if leader.term > term and self.highest > leader.log.base and leader.log.term(self.highest) != term:
            raise Broken(f"leader completeness: {leader.id} of term {leader.term} lacks {self.highest}")

    def _durable(self, log):
        """What is committed is on the disks of a majority: any that was in force since."""
        holders = {node.id for node in self.nodes.values() if node.disk.holds(self.highest, log.term(self.highest))}
        if not any(majority_active(membership, holders) for _, membership in log._memberships):
            raise Broken(f"commit of {self.highest} is only durable on {sorted(holders)}")

    def applied(self, node, index, state):
        """All state machines are the same after the same entry."""
        if self.states.setdefault(index, state) != state:
            raise Broken(f"state-machine safety: {node.id} is in another state after {index}")
