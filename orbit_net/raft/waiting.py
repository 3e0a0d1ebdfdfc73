"""Those who wait for a proposal to be applied or for a read to be confirmed."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import anyio

from orbit_net.errors import NotLeader, OutcomeUnknown, ProposalDropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.raft.messages import Entry, ReadState

__all__ = ["Conditions", "Waiter", "Waiters"]


class Waiter:
    """One result, that one task waits for."""

    __slots__ = ("_error", "_event", "index", "result", "term")

    def __init__(self) -> None:
        self.index = 0
        self.term = 0
        self.result: Any = None
        self._error: BaseException | None = None
        self._event = anyio.Event()

    @property
    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._event.is_set()

    def succeed(self, result: Any) -> None:
        """Give the result."""
        self.result = result
        self._event.set()

    def fail(self, error: BaseException) -> None:
        """Give an error."""
        self._error = error
        self._event.set()

    async def wait(self) -> Any:
        """Return the result or raise the error."""
        await self._event.wait()
        if self._error is not None:
            raise self._error
        return self.result


class Waiters:
    """All of one node, by the index of their entry or the token of their read."""

    def __init__(self) -> None:
        self._entries: dict[int, Waiter] = {}
        self._reads: dict[int, Waiter] = {}
        self._confirmed: list[tuple[int, int, Waiter]] = []
        self._tokens = 0
        self._term = 0  # of the last entry that was applied

    def __len__(self) -> int:
        return len(self._entries) + len(self._reads) + len(self._confirmed)

    def expect(self, waiter: Waiter, index: int, term: int) -> None:
        """Let ``waiter`` wait until the entry is applied.

        One that waited for the same index belongs to an earlier term: its entry is gone for good.
        """
        waiter.index, waiter.term = index, term
        former = self._entries.pop(index, None)
        if former is not None:
            former.fail(ProposalDropped("another leader's entry took the place of this one"))
        self._entries[index] = waiter

    def forget(self, waiter: Waiter) -> None:
        """Take out one that waits no more."""
        if self._entries.get(waiter.index) is waiter:
            del self._entries[waiter.index]

    def expect_read(self, waiter: Waiter) -> int:
        """Let ``waiter`` wait for a read; return its token."""
        self._tokens += 1
        self._reads[self._tokens] = waiter
        return self._tokens

    def forget_read(self, token: int) -> None:
        """Take out a read that was refused."""
        self._reads.pop(token, None)

    def reached(self, index: int, term: int) -> None:
        """An entry of ``term`` is committed at ``index``: later entries of earlier terms are gone for good.

        Terms never fall along a log, and every leader to come has the committed entry (§5.4.3), so none of them has
        such an entry behind it. Without this a proposer whose leader was followed by one with a shorter log would wait
        until its time is up.
        """
        if term <= self._term:
            return
        self._term = term
        for place, waiter in list(self._entries.items()):
            if place > index and waiter.term < term:
                del self._entries[place]
                waiter.fail(ProposalDropped("the leader of a later term does not have this entry"))

    def done(self, entry: Entry, result: Any) -> None:
        """Give the proposer of an applied entry its result."""
        waiter = self._entries.pop(entry.index, None)
        if waiter is None:
            return
        if waiter.term == entry.term:
            waiter.succeed(result)
        else:
            waiter.fail(ProposalDropped("another leader's entry took the place of this one"))

    def failed(self, entry: Entry, error: Exception) -> bool:
        """Give the proposer what the state machine raised; return whether there was one."""
        waiter = self._entries.get(entry.index)
        if waiter is None or waiter.term != entry.term:
            self.done(entry, None)
            return False
        del self._entries[entry.index]
        waiter.fail(error)
        return True

    def skip_to(self, index: int, term: int) -> None:
        """A snapshot came in place of these entries: nobody can tell which they were."""
        for place in [place for place in self._entries if place <= index]:
            self._entries.pop(place).fail(OutcomeUnknown("a snapshot took the place of the entry"))
        self.reached(index, term)

    def read_confirmed(self, read: ReadState, leader: str | None) -> None:
        """Let a read go on to wait for its index, or fail it."""
        waiter = self._reads.pop(read.token, None)
        if waiter is None:
            return
        if read.index is None:
            waiter.fail(NotLeader(leader))
        else:
            heapq.heappush(self._confirmed, (read.index, read.token, waiter))

    def applied(self, index: int) -> None:
        """Answer the reads up to this index."""
        while self._confirmed and self._confirmed[0][0] <= index:
            wanted, _, waiter = heapq.heappop(self._confirmed)
            waiter.succeed(wanted)

    def fail_all(self, error: BaseException) -> None:
        """The node has stopped."""
        for waiter in (*self._entries.values(), *self._reads.values(), *(w for _, _, w in self._confirmed)):
            waiter.fail(error)
        self._entries.clear()
        self._reads.clear()
        self._confirmed.clear()


class Conditions:
    """Those who wait for something to become true; looked at after each turn of the driver."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Waiter]] = []

    def look(self, failure: Exception | None) -> None:
        """Wake those whose condition holds, or all with ``failure``."""
        for condition, waiter in self._waiting:
            if failure is not None:
                waiter.fail(failure)
            elif condition():
                waiter.succeed(None)
        if self._waiting:
            self._waiting = [pair for pair in self._waiting if not pair[1].done]

    async def until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until ``condition()`` holds; raises :class:`OutcomeUnknown` after ``timeout`` seconds."""
        if condition():
            return
        waiter = Waiter()
        self._waiting.append((condition, waiter))
        try:
            with anyio.fail_after(timeout):
                await waiter.wait()
        except TimeoutError as error:
            raise OutcomeUnknown(f"it did not come about in {timeout:g} s") from error
        finally:
            self._waiting = [pair for pair in self._waiting if pair[1] is not waiter]
