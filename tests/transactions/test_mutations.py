"""Deliberate bugs, each of which the simulation must notice: a list of what it is able to see."""

import inspect
import textwrap

import pytest

from orbit_net.errors import OrbitError
from orbit_net.transactions import CoordinatorCore, ParticipantCore
from txsim import simulate

pytestmark = [pytest.mark.stress, pytest.mark.timeout(90)]

SEEDS = 60

MUTANTS = {
    "the decision is told before it is durable": (
        CoordinatorCore,
        "_decide",
        "after=(self._tell(transaction, transaction.participants, now),)",
        "now=(self._tell(transaction, transaction.participants, now),)",
    ),
    "the decision is repeated before it is durable": (
        CoordinatorCore,
        "tick",
        "(decisions if transaction.phase is Phase.COMMITTING else messages)",
        "messages",
    ),
    "no decision is written": (CoordinatorCore, "_decide", "records=(Decided(", "lazy=(Decided("),
    "one vote is enough": (
        CoordinatorCore,
        "vote",
        "return Step() if transaction.waiting else self._decide",
        "return self._decide",
    ),
    "a no is taken for a yes": (CoordinatorCore, "vote", "if not yes:\n", "if False:\n"),
    "one acknowledgement is enough": (
        CoordinatorCore,
        "acknowledge",
        "return Step() if transaction.waiting else self._finish",
        "return self._finish",
    ),
    "a late transaction is aborted though it is decided": (
        CoordinatorCore,
        "tick",
        "transaction.phase in (Phase.ACTIVE, Phase.PREPARING) and transaction.deadline <= now",
        "transaction.phase in (Phase.ACTIVE, Phase.PREPARING, Phase.COMMITTING) and transaction.deadline <= now",
    ),
    "an unknown transaction is presumed to be committed": (
        CoordinatorCore,
        "status",
        "StateKind.ABORTED,",
        "StateKind.COMMITTED,",
    ),
    "a restarted coordinator forgets its decisions": (
        CoordinatorCore,
        "recover",
        "for record in records",
        "for record in ()",
    ),
    "a decision is told only once": (CoordinatorCore, "_again", "now + transaction.delay", "now + 1e9"),
    "who is in doubt never asks": (
        ParticipantCore,
        "tick",
        "questions.append(",
        "(lambda question: None)(",
    ),
    "the vote is said before it is durable": (
        ParticipantCore,
        "_decide",
        "after=(_vote(name, TransactionVote.yes()),)",
        "now=(_vote(name, TransactionVote.yes()),)",
    ),
    "the vote is not written": (ParticipantCore, "_decide", "records=(Voted(", "lazy=(Voted("),
    "a commit is acknowledged before it is durable": (
        ParticipantCore,
        "_apply",
        "after=(_acknowledgement(name),)",
        "now=(_acknowledgement(name),)",
    ),
    "who is in doubt guesses": (
        ParticipantCore,
        "told",
        "if doubt is None or not (state.kind.commits or state.kind.aborts):",
        "if doubt is None:",
    ),
    "what was applied is forgotten": (ParticipantCore, "_apply", "applied[name] = None", "pass"),
    "what is older than what is remembered is taken for new": (
        ParticipantCore,
        "standing",
        "transaction_id.created_at <= self._horizons.get(coordinator, -1)",
        "False",
    ),
    "an actor is not locked": (ParticipantCore, "_try", "if actor in self._locks:", "if False:"),
    "a restarted participant forgets its votes": (
        ParticipantCore,
        "recover",
        "for vote in stored.votes:",
        "for vote in ():",
    ),
    "a restarted participant forgets what it applied": (
        ParticipantCore,
        "recover",
        "for name in stored.applied:",
        "for name in ():",
    ),
}


def mutate(monkeypatch, owner, name, old, new):
    """Replace a function by itself with a bug."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(old) == 1, f"{old!r} is not in {name} once: the mutant is out of date"
    namespace = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), original.__globals__, namespace)
    monkeypatch.setattr(owner, name, namespace[name])


@pytest.mark.parametrize("name", MUTANTS)
def test_each_bug_is_noticed(monkeypatch, name):
    """With the bug one of the first seeds breaks; without it none does."""
    mutate(monkeypatch, *MUTANTS[name])
    with pytest.raises((AssertionError, OrbitError, KeyError)):
        for seed in range(1, SEEDS):
            simulate(seed)
