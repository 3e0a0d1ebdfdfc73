"""The network, the clocks, the clients and the bad luck, all from one seed."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, replace
from random import Random

from orbit_net.errors import NotLeader, ProposalDropped
from orbit_net.raft import CoreConfig, Membership, Role
from orbit_net.raft.messages import VoteResponse
from raftsim.checks import Broken, Checks
from raftsim.linear import Operation, is_linearizable
from raftsim.node import Node

__all__ = ["Variant", "World"]

_SMALL = CoreConfig(
    election_ticks=10, election_spread=10, heartbeat_ticks=3, max_entries=4, max_bytes=64, max_inflight=3
)
_WINDOW = 60.0
"""Time after which the clients turn to new keys, so that each history stays short."""


@dataclass(frozen=True)
class Variant:
    """What kind of bad luck there is. ``lockstep`` clocks tick together, which leases need."""

    nodes: int = 3
    loss: float = 0.05
    repeat: float = 0.03
    delay: float = 2.0
    trouble: float = 25.0
    lockstep: bool = False
    config: CoreConfig = _SMALL

    @classmethod
    def of(cls, random):
        """Draw one."""
        lockstep = random.random() < 0.25
        config = replace(
            _SMALL,
            pre_vote=random.random() < 0.8,
            check_quorum=lockstep or random.random() < 0.8,
            lease_reads=lockstep,
        )
        return cls(
            nodes=random.choice([3, 5, 7]),
            loss=random.choice([0.0, 0.02, 0.1, 0.25]),
            repeat=random.choice([0.0, 0.05, 0.2]),
            delay=random.choice([0.5, 2.0, 6.0]),
            trouble=random.choice([4.0, 12.0, 40.0]),
            lockstep=lockstep,
            config=config,
        )


class World:
    """Events in the order of their time; each is one step."""

    def __init__(self, seed, variant=None):
        self.random = random = Random(seed)
        self.variant = variant or Variant.of(random)
        self.now = 0.0
        self.steps = 0
        self.nodes = {}
        self.checks = Checks(self.nodes)
        self.blocked = set()
        self.trace = deque(maxlen=200)
        self.writes = {}
        self.reads = {}
        self.history = {}
        self._tokens = 0
        self._queue = []
        self._order = 0
        names = [f"n{number}" for number in range(1, self.variant.nodes + 1)]
        self.spare = [f"s{number}" for number in range(1, 4)]
        membership = Membership.of(names)
        for name in names:
            self._add(name, membership)
        for name in self.spare:
            self._add(name, Membership())
        self._at(1.0, self._client)
        self._at(self.variant.trouble, self._trouble)
        if self.variant.lockstep:
            self._at(1.0, self._tick_all)

    def _add(self, name, membership):
        self.nodes[name] = Node(name, membership, self.variant.config, self.checks, self.random.random())
        if not self.variant.lockstep:
            self._at(self.random.random(), self._tick, name)

    def _at(self, delay, action, *arguments):
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay, self._order, action, arguments))

    def run(self, steps):
        """Let ``steps`` events happen; raises :class:`Broken`."""
        queue = self._queue
        for _ in range(steps):
            self.now, _, action, arguments = heapq.heappop(queue)
            self.steps += 1
            action(*arguments)
        for key, operations in self.history.items():
            if not is_linearizable(operations):
                raise Broken(f"the history of {key} is not linearizable: {operations}")

    # --- what happens ----------------------------------------------------------------------------

    def _tick(self, name):
        core = self.nodes[name].core
        if core is not None:
            core.tick()
            self._process(self.nodes[name])
        self._at(self.random.uniform(0.8, 1.2), self._tick, name)

    def _tick_all(self):
        for node in self.nodes.values():
            if node.core is not None:
                node.core.tick()
                self._process(node)
        self._at(1.0, self._tick_all)

    def _deliver(self, message):
        node = self.nodes[message.target]
        if node.core is not None and (message.sender, message.target) not in self.blocked:
            self.trace.append((self.now, message))
            node.core.step(message)
            self._process(node)

    def _synced(self, node, generation):
        if node.generation == generation:
            self._finish_persist(node)
            self._process(node)

    def _finish_persist(self, node):
        ready, node.pending = node.pending, None
        node.disk.persist(ready.hard_state, ready.snapshot, ready.entries)
        self._post(ready.messages_after_persist)
        node.core.advance()

    def _process(self, node):
        """Do what the core says, as a driver does."""
        core, checks = node.core, self.checks
        checks.look(node)
        while core.has_ready:
            ready = core.ready()
            self._post(ready.messages)
            if ready.snapshot is not None:
                node.restore(ready.snapshot)
                checks.applied(node, ready.snapshot.index, node.state)
            for entry in ready.committed:
                self._finish_write(node, entry, node.apply(entry))
            for read in ready.reads:
                self._finish_read(node, read)
            if ready.persists:
                node.pending = ready
                if self.random.random() < 0.6:
                    self._finish_persist(node)
                else:
                    self._at(self.random.uniform(0.1, 3.0), self._synced, node, node.generation)
            else:
                self._post(ready.messages_after_persist)
            checks.look(node)
        if core.log.applied - core.log.snapshot.index > 40:
            node.take_snapshot(keep=self.random.choice([0, 5, 30]))

    def _post(self, messages):
        random, variant = self.random, self.variant
        for message in messages:
            if isinstance(message, VoteResponse):
                self.checks.voted(message)
            if random.random() >= variant.loss:
                self._at(0.1 + random.random() * variant.delay, self._deliver, message)
            if random.random() < variant.repeat:
                self._at(0.1 + random.random() * variant.delay * 8, self._deliver, message)

    # --- clients ---------------------------------------------------------------------------------

    def _client(self):
        self._at(self.random.uniform(0.2, 3.0), self._client)
        leaders = [node for node in self.nodes.values() if node.core is not None and node.core.role is Role.LEADER]
        if not leaders:
            return
        node = self.random.choice(leaders)
        self._tokens += 1
        token = self._tokens
        key = f"{int(self.now // _WINDOW)}.{self.random.randrange(2)}"
        kind = self.random.choice(["write", "cas", "read"])
        operation = Operation(kind, token, None, self.now, None)
        try:
            if kind == "read":
                operation.argument = key
                node.core.read_index(token)
                self.reads[node.id, node.generation, token] = operation
            else:
                if kind == "cas":
                    operation.argument = (node.values.get(key), token)
                index = node.core.propose(Command((kind, key, operation.argument)))
                self.writes[node.id, node.generation, index] = node.core.term, operation
                self.history.setdefault(key, []).append(operation)
        except (NotLeader, ProposalDropped):
            return
        self._process(node)

    def _finish_write(self, node, entry, result):
        term, operation = self.writes.pop((node.id, node.generation, entry.index), (None, None))
        if operation is None:
            return
        if term == entry.term:
            operation.result, operation.returned = result, self.now
        else:  # certainly not done
            operation.kind = "read"

    def _finish_read(self, node, read):
        operation = self.reads.pop((node.id, node.generation, read.token))
        if read.index is None:
            return
        if node.applied < read.index:
            # The driver would wait for it to be applied; the client gives up instead.
            return
        key = operation.argument
        operation.result, operation.returned = node.values.get(key), self.now
        self.history.setdefault(key, []).append(operation)

    # --- bad luck --------------------------------------------------------------------------------

    def _trouble(self):
        self._at(self.random.expovariate(1 / self.variant.trouble), self._trouble)
        kinds = (
            self._crash,
            self._partition,
            self._one_way,
            self._cut_leader,
            self._cut_leader,
            self._heal,
            self._heal,
            self._members,
            self._members,
            self._transfer,
            self._unreachable,
        )
        self.random.choice(kinds)()

    def _crash(self):
        node = self.random.choice(list(self.nodes.values()))
        if node.core is not None:
            self.trace.append((self.now, f"{node.id} crashes"))
            node.crash(self.random)
            self._at(self.random.expovariate(1 / 20), self._restart, node)

    def _restart(self, node):
        self.trace.append((self.now, f"{node.id} restarts"))
        node.start()

    def _partition(self):
        names = list(self.nodes)
        self.random.shuffle(names)
        cut = self.random.randrange(1, len(names))
        self.blocked = {(a, b) for a in names[:cut] for b in names[cut:]}
        self.blocked |= {(b, a) for a, b in self.blocked}
        self.trace.append((self.now, f"{names[:cut]} | {names[cut:]}"))

    def _one_way(self):
        name = self.random.choice(list(self.nodes))
        towards = self.random.random() < 0.5
        self.blocked |= {(other, name) if towards else (name, other) for other in self.nodes}

    def _cut_leader(self):
        """Leave a leader with less than a majority, while the others elect another."""
        node = self._leader()
        if node is not None:
            others = [name for name in self.nodes if name != node.id]
            company = {node.id, *self.random.sample(others, self.random.randrange(2))}
            self.blocked = {(a, b) for a in self.nodes for b in self.nodes if (a in company) != (b in company)}
            self.trace.append((self.now, f"the leader {node.id} is cut off with {sorted(company)}"))

    def _heal(self):
        self.blocked = set()

    def _leader(self):
        leaders = [n for n in self.nodes.values() if n.core is not None and n.core.role is Role.LEADER]
        return self.random.choice(leaders) if leaders else None

    def _members(self):
        """Change to other members, at times many at once."""
        node = self._leader()
        if node is None:
            return
        names = sorted(self.nodes)
        voters = set(node.core.log.membership.voters)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            voters ^= {self.random.choice(names)}
        if len(voters) < 2:
            return
        learners = {name for name in names if name not in voters and self.random.random() < 0.3}
        try:
            node.core.propose_membership(Membership.of(voters, learners))
        except ProposalDropped:
            return
        self.trace.append((self.now, f"{node.id} changes to {sorted(voters)}, learners {sorted(learners)}"))
        self._process(node)

    def _transfer(self):
        node = self._leader()
        if node is None:
            return
        try:
            node.core.transfer_leadership(self.random.choice(sorted(self.nodes)))
        except ProposalDropped:
            return
        self._process(node)

    def _unreachable(self):
        node = self._leader()
        if node is not None:
            node.core.report_unreachable(self.random.choice(sorted(self.nodes)))
            self._process(node)


class Command(tuple):
    """A command without its bytes: the core only asks for the length."""

    __slots__ = ()

    def __new__(cls, operation):
        return super().__new__(cls, (operation,))
