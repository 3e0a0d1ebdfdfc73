"""One node: a coordinator, its actors, and the two disks that survive a crash."""

from __future__ import annotations

from orbit_net.errors import TransactionRefused
from orbit_net.transactions import CoordinatorCore, ParticipantCore, Stored
from orbit_net.transactions.records import Applied, Decided, Failed, Finished, Pruned, Undone, Voted

__all__ = ["Account", "DecisionDisk", "Node", "VoteDisk"]

INITIAL = 100


class Account:
    """A balance that must not fall below nothing."""

    def initial(self, actor):
        return INITIAL

    def apply(self, state, operation):
        if state + operation.data < 0:
            raise TransactionRefused("not enough money")
        return state + operation.data


class DecisionDisk:
    """What a coordinator's log holds; ``lazy`` is what goes before the next records."""

    def __init__(self, checks):
        self.checks = checks
        self.lazy = ()
        self.decisions = {}

    def persist(self, record):
        match record:
            case Decided() | Failed():
                self.decisions[record.transaction_id] = record
            case Finished():
                self.decisions.pop(record.transaction_id, None)
        self.checks.persisted(record)


class VoteDisk:
    """What the log of a node's participants holds; ``lazy`` is what goes before the next records."""

    def __init__(self, checks):
        self.checks = checks
        self.lazy = ()
        self.states, self.votes, self.applied, self.horizons = {}, {}, {}, {}

    def persist(self, record):
        match record:
            case Voted():
                self.votes[record.actor, record.transaction_id] = record
            case Applied():
                name = record.actor, record.transaction_id
                self.states[record.actor] = self.votes.pop(name).state
                self.applied[name] = None
                self.checks.carried_out(record)
            case Undone():
                self.votes.pop((record.actor, record.transaction_id), None)
            case Pruned(coordinator, horizon):
                self.horizons[coordinator] = max(horizon, self.horizons.get(coordinator, horizon))
                kept = (n for n in self.applied if n[1].coordinator != coordinator or n[1].created_at > horizon)
                self.applied = dict.fromkeys(kept)

    def stored(self):
        return Stored(dict(self.states), tuple(self.votes.values()), tuple(self.applied), dict(self.horizons))


class Node:
    """Up while ``up``. Each disk has a row of what is still to be written: (records, step)."""

    def __init__(self, identity, actors, variant, checks, skew):
        self.id = identity
        self.actors = actors
        self.variant = variant
        self.checks = checks
        self.skew = skew
        self.decisions = DecisionDisk(checks)
        self.votes = VoteDisk(checks)
        self.up = False
        self.generation = 0
        self.rows = {self.decisions: [], self.votes: []}
        self.tick_at = None

    def start(self, now):
        """Begin with what is on the disks; return the first steps."""
        self.up = True
        self.coordinator = CoordinatorCore(self.id, self.variant.transactions)
        self.participant = ParticipantCore(self.id, self.variant.participants, {"Account": Account()})
        return (
            (self.decisions, self.coordinator.recover(self.decisions.decisions.values(), now)),
            (self.votes, self.participant.recover(self.votes.stored(), now)),
        )

    def crash(self, random):
        """Lose everything but the disks; of what was being written a first part may have arrived."""
        self.up = False
        self.generation += 1
        self.tick_at = None
        for disk, row in self.rows.items():
            for records, _ in row[: random.randrange(len(row) + 1)]:
                for record in records:
                    disk.persist(record)
            row.clear()
            disk.lazy = ()

    def due(self):
        times = [time for time in (self.coordinator.due(), self.participant.due()) if time is not None]
        return min(times, default=None)
