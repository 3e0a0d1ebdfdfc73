"""The network, the clock, the owners of transactions and the bad luck, all from one seed."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, replace
from random import Random

from orbit_net.errors import TransactionRefused
from orbit_net.model import AddressableReference, NodeId, StringKey
from orbit_net.transactions import (
    Abort,
    Acknowledge,
    Commit,
    ParticipantConfig,
    Prepare,
    QueryStatus,
    StatusResponse,
    TransactionConfig,
    TransactionId,
    TransactionOperation,
    Vote,
)
from orbit_net.transactions.step import Outgoing, Step
from txsim.checks import Broken, Checks
from txsim.node import INITIAL, Node

__all__ = ["Variant", "World"]

_TRANSACTIONS = TransactionConfig(timeout=6.0, resend_initial=0.5, resend_max=8.0)
_PARTICIPANTS = ParticipantConfig(ask_initial=1.0, ask_max=8.0, remembered=20)
_QUIET = 400.0
"""Seconds without faults within which everything must end: more than the longest pause of any timer, many times."""


@dataclass(frozen=True)
class Variant:
    """What kind of bad luck there is. Times in seconds; ``crash`` is the chance at each point where one hurts."""

    nodes: int = 5
    accounts: int = 3
    loss: float = 0.05
    repeat: float = 0.05
    delay: float = 0.5
    sync: float = 0.3
    crash: float = 0.002
    partition: float = 0.0
    pace: float = 0.5
    transactions: TransactionConfig = _TRANSACTIONS
    participants: ParticipantConfig = _PARTICIPANTS

    @classmethod
    def of(cls, random):
        """Draw one."""
        return cls(
            accounts=random.choice([1, 5, 20, 60]),
            loss=random.choice([0.0, 0.02, 0.1, 0.3]),
            repeat=random.choice([0.0, 0.05, 0.3]),
            delay=random.choice([0.05, 0.5, 3.0]),
            sync=random.choice([0.01, 0.3, 1.5]),
            crash=random.choice([0.0, 0.001, 0.005, 0.02]),
            partition=random.choice([0.0, 0.0, 0.05]),
            pace=random.choice([0.05, 0.5, 2.0]),
            transactions=replace(_TRANSACTIONS, max_transactions=random.choice([3, 1_000, 1_000])),
            participants=ParticipantConfig(
                ask_initial=random.choice([0.3, 2.0]), ask_max=8.0, remembered=random.choice([1, 5, 1_000])
            ),
        )


class World:
    """Events in the order of their time. ``said`` counts messages, ``crashes`` crashes."""

    def __init__(self, seed, transactions, variant=None):
        self.random = random = Random(seed)
        self.variant = variant or Variant.of(random)
        self.now = 0.0
        self.operations = {}
        self.checks = Checks(self.operations)
        self.trace = deque(maxlen=200)
        self.said = self.crashes = self.begun = 0
        self.faults = True
        self.blocked = set()
        self._queue = []
        self._order = 0
        self.nodes = {}
        self.homes = {}
        for number in range(1, self.variant.nodes + 1):
            identity = NodeId(f"n{number}")
            actors = [AddressableReference("Account", StringKey(f"{number}.{i}")) for i in range(self.variant.accounts)]
            self.homes.update(dict.fromkeys(actors, identity))
            skew = random.uniform(0, 100)
            self.nodes[identity] = Node(identity, actors, self.variant, self.checks, skew)
        self.accounts = list(self.homes)
        for node in self.nodes.values():
            self._start(node)
        at = 0.0
        for _ in range(transactions):
            at += random.expovariate(1 / self.variant.pace)
            self._at(at, self._transfer)
        self._over = at

    def _at(self, delay, action, *arguments):
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay, self._order, action, arguments))

    def run(self):
        """Let everything happen, end the faults, and see how it stands; raises :class:`Broken`."""
        self._until(self._over + self.random.uniform(0.0, 10.0))
        self.faults = False
        self.blocked.clear()
        for node in self.nodes.values():
            if not node.up:
                self._start(node)
        end = self.now + _QUIET
        while not self._quiet():
            if not self._queue or self.now > end:
                raise Broken(f"without faults for {_QUIET:g} s, and this is not over: {self._open()}")
            self._next()
        self.checks.finish(self.nodes.values(), dict.fromkeys(self.accounts, INITIAL))

    def _until(self, time):
        while self._queue and self._queue[0][0] <= time:
            self._next()
        self.now = max(self.now, time)

    def _next(self):
        self.now, _, action, arguments = heapq.heappop(self._queue)
        action(*arguments)

    def _quiet(self):
        return all(
            node.up and not node.coordinator.transactions and not node.participant.in_doubt
            for node in self.nodes.values()
        ) and not any(row for node in self.nodes.values() for row in node.rows.values())

    def _open(self):
        nodes = self.nodes.values()
        doubts = [node.participant for node in nodes if node.participant.in_doubt]
        return [*(t for node in nodes for t in node.coordinator.transactions.values()), *doubts]

    # --- owners ----------------------------------------------------------------------------------

    def _transfer(self):
        """Move money between some accounts, from any node that is up."""
        random = self.random
        up = [node for node in self.nodes.values() if node.up]
        if not up:
            return
        node = random.choice(up)
        identity = TransactionId.generate(node.id, now_ms=int((self.now + node.skew) * 1_000), random=random)
        chosen = random.sample(self.accounts, random.choice([2, 2, 2, 3, min(5, len(self.accounts))]))
        amounts = [random.choice([5, 5, 40]) for _ in chosen[1:]]
        moves = [(chosen[0], -sum(amounts)), *zip(chosen[1:], amounts, strict=True)]
        if random.random() < 0.1:  # there and back, to the same account
            moves += [(chosen[1], -amounts[0]), (chosen[0], amounts[0])]
        operations = [
            TransactionOperation(f"{place}", actor, "add", amount) for place, (actor, amount) in enumerate(moves)
        ]
        try:
            node.coordinator.begin(identity, self.now)
            for operation in operations:
                node.coordinator.add_operation(identity, operation)
        except TransactionRefused:
            return
        self.begun += 1
        self.operations[identity] = operations
        self._obey(node, node.decisions, node.coordinator.commit(identity, self.now))
        if random.random() < 0.05:
            self._at(random.random() * 3, self._give_up, node, node.generation, identity)

    def _give_up(self, node, generation, identity):
        if not node.up or node.generation != generation:
            return
        try:
            step = node.coordinator.abort(identity, "its owner thought better of it", self.now)
        except TransactionRefused:
            return
        self._obey(node, node.decisions, step)

    # --- nodes -----------------------------------------------------------------------------------

    def _obey(self, node, disk, step):
        """Do what a core says, with a crash at any point between."""
        for record in step.records + step.lazy:
            self.checks.recorded(record)
        if self._dies(node) or not self._post(node, step.now):
            return
        row = node.rows[disk]
        records, disk.lazy = (disk.lazy + step.records, step.lazy) if step.records else ((), disk.lazy + step.lazy)
        if records or row:
            row.append((records, step))
            if self.random.random() < 0.5:
                self._synced(node, node.generation, disk, len(row))
            else:
                self._at(self.random.random() * self.variant.sync, self._synced, node, node.generation, disk, len(row))
        else:
            self._follow(node, step)
        if node.up:
            self._schedule(node)

    def _synced(self, node, generation, disk, number):
        """A write is done: the first ``number`` steps of the row are durable, or fewer if some were before."""
        if node.generation != generation:
            return
        row = node.rows[disk]
        done, row[:] = row[:number], row[number:]
        for records, _ in done:
            for record in records:
                disk.persist(record)
        for _, step in done:
            if self._dies(node):
                return
            self._follow(node, step)
            if not node.up:
                return

    def _follow(self, node, step):
        for news in step.news:
            self.checks.heard(news)
        self._post(node, step.after)

    def _dies(self, node):
        """Crash, perhaps; return whether it did."""
        if not self.faults or self.random.random() >= self.variant.crash:
            return False
        self.trace.append((self.now, f"{node.id} crashes"))
        self.crashes += 1
        node.crash(self.random)
        self._at(self.random.expovariate(1 / 5), self._start, node)
        return True

    def _start(self, node):
        if node.up:
            return
        self.trace.append((self.now, f"{node.id} starts"))
        for disk, step in node.start(self.now):
            if node.up:
                self._obey(node, disk, step)

    def _schedule(self, node):
        due = node.due()
        if due is not None and (node.tick_at is None or due < node.tick_at):
            node.tick_at = due
            self._at(max(due - self.now, 0.0), self._tick, node, node.generation, due)

    def _tick(self, node, generation, due):
        if not node.up or node.generation != generation or node.tick_at != due:
            return
        node.tick_at = None
        self._obey(node, node.decisions, node.coordinator.tick(self.now))
        if node.up:
            self._obey(node, node.votes, node.participant.tick(self.now))

    # --- the network -----------------------------------------------------------------------------

    def _post(self, node, messages):
        """Send messages; False when the node crashed amid them."""
        for outgoing in messages:
            message = outgoing.message
            for target in outgoing.targets or (None,):
                if self._dies(node):
                    return False
                self.checks.said(message)
                home = outgoing.node if target is None else self.homes[target]
                self._send(node.id, home, target, message)
        return True

    def _send(self, sender, home, target, message):
        random, variant = self.random, self.variant
        self.said += 1
        if self.faults and random.random() < variant.partition / 10:
            self._cut()
        if (sender, home) in self.blocked:
            return
        if not self.faults or random.random() >= variant.loss:
            self._at(0.01 + random.random() * variant.delay, self._deliver, sender, home, target, message)
        if self.faults and random.random() < variant.repeat:
            later = random.choice([1, 10, 60])
            self._at(0.01 + random.random() * variant.delay * later, self._deliver, sender, home, target, message)

    def _cut(self):
        """Cut some nodes off from the others, for a while."""
        names = list(self.nodes)
        self.random.shuffle(names)
        at = self.random.randrange(1, len(names))
        pairs = {(a, b) for a in names[:at] for b in names[at:]}
        self.blocked = pairs | {(b, a) for a, b in pairs}
        self._at(self.random.expovariate(1 / 5), self.blocked.clear)

    def _deliver(self, sender, home, target, message):
        node = self.nodes[home]
        if not node.up:
            return
        self.trace.append((self.now, f"{home.key} {target or ''} hears {told(message)}"))
        coordinator, participant, now = node.coordinator, node.participant, self.now
        identity = message.transaction_id
        disk = node.votes
        match message:
            case Prepare():
                step = participant.prepare(target, identity, message.narrowed((target,)).operations, now)
            case Commit():
                step = participant.commit(target, identity, now)
            case Abort():
                step = participant.abort(target, identity, message.reason, now)
            case StatusResponse():
                step = participant.told(identity, message.state, now)
            case Vote():
                disk, step = node.decisions, coordinator.vote(message, now, sender=sender)
            case Acknowledge():
                disk, step = node.decisions, coordinator.acknowledge(message, now)
            case QueryStatus():
                answer = StatusResponse(identity, coordinator.status(identity))
                disk, step = node.decisions, Step(after=(Outgoing(answer, node=sender),))
        self._obey(node, disk, step)


def told(message):
    """Name a message in a word or two, for the trace."""
    detail = next((str(getattr(message, name)) for name in ("vote", "state", "success") if hasattr(message, name)), "")
    return f"{type(message).__name__} {message.transaction_id.id[:8]} {getattr(message, 'participant', '')} {detail}"
