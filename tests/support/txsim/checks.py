"""What must hold of every transaction, looked at whenever something is said or written."""

from __future__ import annotations

from orbit_net.transactions import Abort, Acknowledge, Commit, StatusResponse
from orbit_net.transactions.records import Applied, Decided, Undone, Voted

__all__ = ["Broken", "Checks"]


class Broken(AssertionError):
    """A property of atomic commitment does not hold."""


class Checks:
    """What is known of all nodes since the beginning.

    ``decided`` are the commits that are durable, with their participants; ``applied`` what was carried out of them.
    """

    def __init__(self, operations):
        self.operations = operations
        self.decided = {}
        self.applied = {}
        self.gave_up = set()
        self.told = {}

    def persisted(self, record):
        """A record is on a disk."""
        if isinstance(record, Decided):
            if record.transaction_id in self.gave_up:
                raise Broken(f"{record.transaction_id} is decided, and its owner was told that it is aborted")
            self.decided[record.transaction_id] = record.participants

    def recorded(self, record):
        """A core wants a record to be written, and goes on as if it were."""
        if isinstance(record, Voted) and record.actor in self.applied.get(record.transaction_id, ()):
            raise Broken(f"{record.actor} votes for {record.transaction_id}, which it has applied")
        if isinstance(record, Undone) and record.transaction_id in self.decided:
            raise Broken(f"{record.actor} undoes {record.transaction_id}, which is decided to commit")
        if isinstance(record, Applied) and record.transaction_id not in self.decided:
            raise Broken(f"{record.actor} applies {record.transaction_id}, which is not decided")

    def carried_out(self, record):
        """An actor's new state is on its disk."""
        actors = self.applied.setdefault(record.transaction_id, set())
        if record.actor in actors:
            raise Broken(f"{record.actor} applies {record.transaction_id} twice")
        actors.add(record.actor)

    def said(self, message):
        """A message leaves a node."""
        identity = message.transaction_id
        match message:
            case Commit() if identity not in self.decided:
                raise Broken(f"{identity} is told to commit before that is durable")
            case StatusResponse(state=state) if state.kind.commits and identity not in self.decided:
                raise Broken(f"{identity} is said to commit before that is durable")
            case StatusResponse(state=state) if state.kind.aborts:
                self._aborts(identity)
            case Abort():
                self._aborts(identity)
            case Acknowledge(success=True, participant=actor) if identity in self.decided:
                if actor not in self.applied.get(identity, ()):
                    raise Broken(f"{actor} acknowledges {identity} before it is durable there")
            case Acknowledge(success=False, error=error) if "cannot commit" in error:
                raise Broken(f"a decision cannot be carried out: {error}")

    def _aborts(self, identity):
        """A commit is forgotten, and taken for an abort, only when nobody is left to hear of it."""
        if identity in self.decided and self.applied.get(identity) != set(self.decided[identity]):
            raise Broken(f"{identity} is decided to commit, and is said to be aborted")

    def heard(self, news):
        """The owner of a transaction is told how it ends."""
        identity, kind = news.transaction_id, news.state.kind
        if kind.commits and identity not in self.decided:
            raise Broken(f"the owner of {identity} hears {news.state}, which is not durable")
        if not kind.commits and identity in self.decided:
            raise Broken(f"the owner of {identity} hears {news.state}, but it is decided to commit")
        if not kind.commits:
            self.gave_up.add(identity)
        self.told[identity] = kind

    def finish(self, nodes, initial):
        """With all faults over: all agree, nothing is forgotten, nothing is in doubt, and the money is there."""
        expected = dict(initial)
        for identity, participants in self.decided.items():
            if self.applied.get(identity) != set(participants):
                missing = set(participants) - self.applied.get(identity, set())
                raise Broken(f"{identity} is decided, but was never applied by {', '.join(map(str, missing))}")
            for operation in self.operations[identity]:
                expected[operation.target] += operation.data
        for identity in self.applied:
            if identity not in self.decided:
                raise Broken(f"{identity} was applied and never decided")
        found = {actor: node.participant.state(actor) for node in nodes for actor in node.actors}
        if found != expected:
            wrong = {str(actor): (found[actor], expected[actor]) for actor in found if found[actor] != expected[actor]}
            raise Broken(f"balances are not what the committed transactions make: (is, should be) {wrong}")
        if sum(found.values()) != sum(initial.values()) or min(found.values()) < 0:
            raise Broken(f"the money is not conserved: {sum(found.values())} of {sum(initial.values())}")
