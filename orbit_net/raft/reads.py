"""Reads that wait until the leader has heard that it still leads (thesis §6.4), and the lease (§6.4.1)."""

from __future__ import annotations

from collections import deque

from orbit_net.raft.messages import ReadState

__all__ = ["ReadQueue", "Rounds"]


class ReadQueue:
    """Reads in the order they came, each with the round of heartbeats that has to be answered by a majority."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, int]] = deque()  # token, index, round
        self.answers: list[ReadState] = []
        """What is to be handed out."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, token: int, index: int, round_: int) -> None:
        """Let a read wait for ``round_``; it sees everything up to ``index``."""
        self._waiting.append((token, index, round_))

    def confirm(self, round_: int) -> None:
        """Answer the reads up to this round."""
        while self._waiting and self._waiting[0][2] <= round_:
            token, index, _ = self._waiting.popleft()
            self.answers.append(ReadState(token, index))

    def fail(self, others: list[int]) -> None:
        """Answer all that wait, and ``others``, with no: leadership is lost."""
        self.answers += [ReadState(token, None) for token in (*(token for token, _, _ in self._waiting), *others)]
        self._waiting.clear()

    def take(self) -> tuple[ReadState, ...]:
        """Hand out the answers."""
        answers, self.answers = tuple(self.answers), []
        return answers


class Rounds:
    """When each round of heartbeats was sent, as far back as a lease can reach."""

    def __init__(self, lease_ticks: int) -> None:
        self.number = 0
        """The latest round."""
        self._lease_ticks = lease_ticks
        self._sent: deque[tuple[int, int]] = deque()  # round, tick

    def begin(self, now: int) -> int:
        """Begin a round at tick ``now`` and return its number."""
        self.number += 1
        self._sent.append((self.number, now))
        while self._sent[0][1] <= now - self._lease_ticks:
            self._sent.popleft()
        return self.number

    def lease_holds(self, answered: int, now: int) -> bool:
        """Whether a majority answered round ``answered``, or a later one, so lately that nobody else can be elected.

        Followers refuse to vote for ``lease_ticks`` after they heard the leader; that was after the round was sent.
        One tick is kept as a margin, because a follower's tick may come right after the message.
        """
        for number, tick in self._sent:
            if number >= answered:
                return number == answered and now - tick < self._lease_ticks - 1
        return False
