"""Tasks that run handlers, kept for the next call.

Starting a task costs about as much as the rest of a small call, so a task that has finished a handler waits for
another. Each handler still runs in a context of its own (a context variable that it sets is not seen by the next one),
and in a cancel scope of which it is the only user: a worker whose scope was cancelled retires.
"""

from __future__ import annotations

import logging
from contextvars import Context, copy_context
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from orbit_net.net import is_cancelled

_log = logging.getLogger("orbit_net.server")

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from anyio import CancelScope
    from anyio.abc import TaskGroup

__all__ = ["Job", "Workers"]

_MAX_IDLE: Final = 128
"""Tasks kept waiting; each holds a few KiB."""


class Job(Protocol):
    """Something to run in a task. ``scope`` is set while it runs; ``cancelled`` tells that it need not begin."""

    scope: CancelScope | None
    cancelled: bool

    async def run(self) -> None:
        """Do it; only cancellation may escape."""

    def close(self) -> None:
        """It is over, or was never begun."""


class _Seat:
    __slots__ = ("job", "wake")

    def __init__(self) -> None:
        self.job: Job | None = None
        self.wake = anyio.Event()


class Workers:
    """Runs jobs in the tasks of ``tasks``; the job handed in last gets the worker that rested last."""

    __slots__ = ("_context", "_idle", "_tasks", "busy")

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._idle: list[_Seat] = []
        self._context = copy_context()
        self.busy = 0

    def submit(self, job: Job) -> None:
        """Run ``job`` soon. Does not block."""
        self.busy += 1
        if self._idle:
            seat = self._idle.pop()
            seat.job = job
            seat.wake.set()
        else:
            self._tasks.start_soon(self._work, job)

    async def _work(self, job: Job) -> None:
        try:
            await self._work_until_cancelled(job)
        except Exception:  # noqa: BLE001 - the reason follows
            # A handler's own task group can wrap what it raised together with the cancellation that ended it.
            _log.debug("a cancelled handler failed", exc_info=True)
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
            # It is not ours, so it ends this worker and not the server.

    async def _work_until_cancelled(self, job: Job | None) -> None:
        with anyio.CancelScope() as scope:
            while job is not None:
                await self._run(job, scope)
                if scope.cancel_called or len(self._idle) >= _MAX_IDLE:
                    return
                seat = _Seat()
                self._idle.append(seat)
                job = await self._rest(seat)

    async def _rest(self, seat: _Seat) -> Job | None:
        try:
            await seat.wake.wait()
        except BaseException:  # cancelled, with everything else
            if seat.job is None:
                self._idle.remove(seat)
            else:
                self.busy -= 1
                seat.job.close()
            raise
        return seat.job

    async def _run(self, job: Job, scope: CancelScope) -> None:
        try:
            if not job.cancelled:
                job.scope = scope
                await _in_context(job.run(), self._context.copy())
        finally:
            job.scope = None
            self.busy -= 1
            job.close()

    def __repr__(self) -> str:
        return f"<Workers {self.busy} busy, {len(self._idle)} idle>"


@coroutine
def _in_context(work: Coroutine[Any, Any, None], context: Context) -> Generator[Any, Any, None]:
    """Await ``work`` with ``context`` as the current context, without a task of its own."""
    step: Any = work.send
    argument: Any = None
    while True:
        try:
            awaited = context.run(step, argument)
        except StopIteration:
            return
        try:
            argument = yield awaited
            step = work.send
        except BaseException as error:  # noqa: BLE001 - cancellation included: it belongs to the work
            step, argument = work.throw, error
