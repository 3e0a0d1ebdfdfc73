"""Who waits for the end of a transaction, and how it ends for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from orbit_net.errors import OrbitError, TransactionAborted, TransactionError, TransactionInDoubt
from orbit_net.transactions.messages import StateKind, TransactionState

if TYPE_CHECKING:
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.step import News

__all__ = ["Waiter"]


class Waiter:
    """The owner of one transaction. ``decided`` and ``finished`` are set by :meth:`hear`, or both by :meth:`fail`."""

    __slots__ = ("decided", "error", "finished", "identity", "state")

    def __init__(self, identity: TransactionId) -> None:
        self.identity = identity
        self.decided = anyio.Event()
        self.finished = anyio.Event()
        self.state: TransactionState | None = None
        self.error: OrbitError | None = None

    def hear(self, news: News) -> None:
        """Take notice of the decision, or of the end."""
        self.state = news.state
        self.decided.set()
        if news.final:
            self.finished.set()

    def fail(self, error: OrbitError) -> None:
        """Nobody will tell any more."""
        self.error = error
        self.decided.set()
        self.finished.set()

    def result(self) -> TransactionState:
        """Return how it ended, or raise that it did not end well."""
        state = self.state
        if state is None:
            raise self.error or TransactionInDoubt(f"the end of {self.identity} is not known")
        if state.kind is StateKind.FAILED:
            raise TransactionError(f"{self.identity} is {state}")
        if not state.kind.commits:
            raise TransactionAborted(state.details or "no reason given")
        return state
