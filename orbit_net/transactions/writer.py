"""Writes what cores want written, in order, and lets follow what has to wait for it."""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import anyio
import anyio.lowlevel
from anyio import to_thread

from orbit_net.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orbit_net.transactions.step import Step

__all__ = ["Log", "Writer"]

Record = TypeVar("Record")

_log = logging.getLogger("orbit_net.transactions")

_LAZY: Final = 256
"""Lazy records that wait for company before they are written for their own sake."""


class Log(Protocol):
    """What any log can do; see :class:`~orbit_net.transactions.DecisionLog`."""

    blocking: bool

    def load(self) -> Any:
        """Open the log, and return what it holds."""

    def write(self, records: Sequence[Any]) -> None:
        """Return when all of these are durable."""

    def close(self) -> None:
        """Let go of what was opened."""


class Writer(Generic[Record]):
    """The order of one log. While a batch is being written the next one gathers: one wait for the disk for all of it.

    ``failed`` is called once, with the first error of the log; nothing follows after it.
    """

    def __init__(self, log: Log, failed: Callable[[StorageError], None]) -> None:
        self.failure: StorageError | None = None
        self._log = log
        self._failed = failed
        self._row: deque[tuple[tuple[Record, ...], Callable[[], None]]] = deque()
        self._lazy: list[Record] = []
        self._busy = False
        self._closed = False
        self._wake = anyio.Event()
        self._waiting: set[anyio.Event] = set()

    async def load(self) -> Any:
        """Return what the log holds. Raises :class:`StorageError`."""
        if self._log.blocking:
            return await to_thread.run_sync(self._log.load)
        return self._log.load()

    def submit(self, step: Step[Record], follow: Callable[[], None]) -> None:
        """Call ``follow`` when the records of this step and of all before it are durable: at once if they are.

        Never waits. After the log has failed or was closed ``follow`` is not called any more.
        """
        if self.failure is not None or self._closed:
            return
        records = step.records
        if records and self._lazy:
            records, self._lazy = (*self._lazy, *records), []
        self._lazy.extend(step.lazy)
        if len(self._lazy) > _LAZY:
            records, self._lazy = (*records, *self._lazy), []
        if not records and not self._row and not self._busy:
            follow()
        elif self._log.blocking:
            self._row.append((records, follow))
            self._wake.set()
        elif self._written(partial(self._log.write, records)):
            follow()

    async def written(self, step: Step[Record]) -> None:
        """Submit a step and wait until it may follow. Raises :class:`StorageError` when that will never be.

        Cancellation: the records are written all the same.
        """
        done = anyio.Event()
        self.submit(step, done.set)
        if done.is_set():
            await anyio.lowlevel.checkpoint()
            return
        self._check()
        self._waiting.add(done)
        try:
            await done.wait()
        finally:
            self._waiting.remove(done)
        self._check()

    def _check(self) -> None:
        if self.failure is not None:
            raise StorageError(f"{self._log!r} has failed: {self.failure}") from self.failure
        if self._closed:
            raise StorageError(f"{self._log!r} is closed")

    def _written(self, write: Callable[[], None]) -> bool:
        """Whether a write succeeds; the first failure is the last write."""
        try:
            write()
        except Exception as error:  # noqa: BLE001 - whatever a log raises, nobody knows what it holds
            self._fail(error)
            return False
        return True

    async def run(self) -> None:
        """Write until cancelled or failed; never raises for the log. What is being written then is finished."""
        while self.failure is None:
            while not self._row:
                self._wake = anyio.Event()
                await self._wake.wait()
            batch, self._row = self._row, deque()
            records = [record for some, _ in batch for record in some]
            self._busy = True
            try:
                if records:
                    await to_thread.run_sync(self._log.write, records)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error)
                return
            self._busy = False
            for _, follow in batch:
                follow()

    def _fail(self, error: Exception) -> None:
        _log.error("the log of transactions failed: %s", error)
        self.failure = error if isinstance(error, StorageError) else StorageError(f"{self._log!r}: {error!r}")
        self._release()
        self._failed(self.failure)

    def _release(self) -> None:
        for event in self._waiting:
            event.set()

    async def close(self) -> None:
        """Write what is left, if the log works, and close it."""
        self._closed = True
        self._release()
        left = [record for some, _ in self._row for record in some] + self._lazy
        self._row.clear()
        self._lazy = []

        def close() -> None:
            try:
                if left and self.failure is None:
                    self._log.write(left)
            except Exception as error:  # noqa: BLE001 - they are lazy: losing them costs a question
                _log.warning("the last records of a log were not written: %s", error)
            finally:
                self._log.close()

        if self._log.blocking:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(close)
        else:
            close()

    def __repr__(self) -> str:
        state = "failed" if self.failure is not None else f"{len(self._row)} waiting, {len(self._lazy)} lazy"
        return f"<Writer of {self._log!r}, {state}>"
