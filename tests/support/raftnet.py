"""A few cores and the messages between them, delivered when a test says so."""

from random import Random

from orbit_net.raft import CoreConfig, HardState, InstallSnapshot, Membership, RaftCore, RaftLog, Role, Snapshot

CONFIG = CoreConfig(election_ticks=10, election_spread=10, heartbeat_ticks=3)


class Node:
    """A core, and what its driver would have: a disk, applied commands, answered reads."""

    def __init__(self, name, membership, config, entries=(), term=0, vote=None, seed=1):
        self.name, self.config, self.seed = name, config, seed
        self.hard_state = HardState(term, vote)
        self.snapshot = Snapshot(membership=membership)
        self.entries = list(entries)
        self.restart()

    def restart(self):
        """Begin again with what is durable."""
        log = RaftLog(self.snapshot, self.entries)
        self.core = RaftCore(self.name, log, self.hard_state, config=self.config, random=Random(self.seed))
        self.applied, self.reads, self.restored = [], [], None
        self.pending = None

    def collect(self, *, persist=True):
        """Do what the core says, and return the messages that may leave."""
        out = []
        while self.core.has_ready:
            ready = self.core.ready()
            out += ready.messages
            self.applied += [entry.command for entry in ready.committed if entry.command]
            self.reads += [(read.token, read.index) for read in ready.reads]
            self.restored = ready.snapshot or self.restored
            if not ready.persists:
                out += ready.messages_after_persist
            elif persist:
                out += self.persist(ready)
            else:
                self.pending = ready
        return out

    def persist(self, ready=None):
        """Make a Ready durable, and return the messages that had to wait."""
        ready = ready or self.pending
        self.pending = None
        self.hard_state = ready.hard_state or self.hard_state
        if ready.snapshot is not None:
            self.snapshot, self.entries = ready.snapshot, []
        if ready.entries:
            if self.entries:
                del self.entries[max(0, ready.entries[0].index - self.entries[0].index) :]
            self.entries += ready.entries
        self.core.advance()
        return ready.messages_after_persist

    def compact(self, keep=0):
        """Take a snapshot at what is applied."""
        log = self.core.log
        index = log.applied
        self.snapshot = Snapshot(index, log.term(index), log.membership_at(index), b"state %d" % index)
        self.core.compact(self.snapshot, keep=keep)
        self.entries = [entry for entry in self.entries if entry.index > log.base]


class Net:
    """Nodes named ``a``, ``b``, ``c`` …; ``cut`` holds the pairs between which messages are lost."""

    def __init__(self, size=3, *, learners=(), config=CONFIG, logs=(), terms=()):
        names = [chr(ord("a") + number) for number in range(size)]
        self.membership = Membership.of(names, learners)
        self.nodes = {}
        for number, name in enumerate([*names, *learners]):
            entries = logs[number] if number < len(logs) else ()
            term = terms[number] if number < len(terms) else (entries[-1].term if entries else 0)
            self.nodes[name] = Node(name, self.membership, config, entries, term, seed=number)
        self.cut = set()
        self.log = []

    def __getitem__(self, name):
        return self.nodes[name].core

    def add(self, name):
        """A node that is not a member yet."""
        self.nodes[name] = Node(name, Membership(), CONFIG, seed=len(self.nodes))

    def isolate(self, *names):
        """Cut these nodes off from all others."""
        self.cut |= {(a, b) for a in self.nodes for b in self.nodes if (a in names) != (b in names)}

    def heal(self):
        """Let every message through."""
        self.cut = set()

    def settle(self, limit=10_000):
        """Deliver messages in order until there are none."""
        row = [message for node in self.nodes.values() for message in node.collect()]
        while row:
            limit -= 1
            assert limit, "the messages do not end"
            message = row.pop(0)
            self.log.append(message)
            if message.target in self.nodes and (message.sender, message.target) not in self.cut:
                node = self.nodes[message.target]
                node.core.step(message)
                row += node.collect()

    def tick(self, times=1, *names):
        """Let time pass on the named nodes, or on all, and deliver."""
        for _ in range(times):
            for name in names or self.nodes:
                self.nodes[name].core.tick()
            self.settle()

    def elect(self, name="a"):
        """Make a node the leader, in the ordinary way."""
        core = self[name]
        for _ in range(60):
            leader = self.leader()
            self.tick(1, *([name] if leader is None else self.nodes))  # its clock runs ahead: it is the first to stand
            if core.role is Role.LEADER:
                return core
            if leader is not None and core.log.up_to_date(leader.log.last_index, leader.log.last_term):
                leader.transfer_leadership(name)
                self.settle()
        raise AssertionError(f"{name} was not elected: {self.nodes}")

    def leader(self):
        """Return the leader of the highest term."""
        leaders = [node.core for node in self.nodes.values() if node.core.role is Role.LEADER]
        return max(leaders, key=lambda core: core.term, default=None)

    def sent(self, kind, **fields):
        """Return the messages of a kind that were delivered or lost so far."""
        return [
            message
            for message in self.log
            if isinstance(message, kind) and all(getattr(message, name) == value for name, value in fields.items())
        ]

    def snapshots(self):
        """Return the snapshots that were sent."""
        return self.sent(InstallSnapshot)
