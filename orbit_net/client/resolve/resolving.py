"""Asks a resolver when it is time, and tells what came of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from grpclib.exceptions import GRPCError

from orbit_net.client.resolve.schedule import ResolveSchedule
from orbit_net.errors import ConnectError, OrbitError, RpcError
from orbit_net.net import is_cancelled
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from orbit_net.client.resolve.resolution import Resolution, Resolver
    from orbit_net.client.resolve.schedule import ResolveSettings

__all__ = ["Resolved", "Resolving", "resolver_error"]

_log = logging.getLogger("orbit_net.client")

_FOR_APPLICATIONS: Final = frozenset(
    {
        Status.OK,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.ALREADY_EXISTS,
        Status.FAILED_PRECONDITION,
        Status.ABORTED,
        Status.OUT_OF_RANGE,
        Status.DATA_LOSS,
    }
)
"""What a server's application may say, and the way to it may not (gRFC A54)."""


class Resolved(Protocol):
    """Who wants to know where the target is."""

    def resolved(self, resolution: Resolution) -> None:
        """Take the endpoints; raise :class:`OrbitError` if there is nothing to be done with them. Must not block."""

    def unresolved(self, error: OrbitError) -> None:
        """Take notice that there is no answer. Must not block."""


class Resolving:
    """Runs one resolver. It is asked at the first :meth:`want`, so a channel that makes no call asks nobody."""

    def __init__(
        self, resolver: Resolver, settings: ResolveSettings, target: str, random: Random, owner: Resolved
    ) -> None:
        self.schedule = ResolveSchedule(settings)
        self._resolver = resolver
        self._target = target
        self._random = random
        self._owner = owner
        self._begun = False
        self._changed: anyio.Event | None = None

    def want(self) -> None:
        """Have the resolver asked as soon as that is allowed."""
        self._begun = True
        self.schedule.wanted()
        self._wake()

    def _pushed(self) -> None:
        self.schedule.pushed()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def run(self) -> None:
        """Ask again and again, until cancelled. Never raises for what the resolver does."""
        stop = self._watch()
        try:
            while True:
                self._changed = anyio.Event()
                due = self.schedule.due if self._begun else float("inf")
                if due <= anyio.current_time():
                    await self._ask()
                    continue
                with anyio.CancelScope(deadline=due):
                    await self._changed.wait()
        finally:
            self._stop(stop)

    def _watch(self) -> Callable[[], None] | None:
        try:
            watch = getattr(self._resolver, "watch", None)
            return None if watch is None else watch(self._pushed)
        except Exception:  # noqa: BLE001 - a user's resolver may raise anything
            _log.exception("%r cannot be watched: its changes are seen when it is asked", self._resolver)
            return None

    def _stop(self, stop: Callable[[], None] | None) -> None:
        try:
            if stop is not None:
                stop()
        except Exception:  # noqa: BLE001
            _log.exception("%r does not end its watch", self._resolver)

    async def _ask(self) -> None:
        # What is pushed or wanted from here on may be news that this answer does not have.
        self.schedule.due = float("inf")
        try:
            resolution = await self._resolver.resolve()
            self._owner.resolved(resolution)
        except Exception as error:  # noqa: BLE001 - a user's resolver may raise anything
            self._failed(error)
        except anyio.get_cancelled_exc_class() as error:
            if is_cancelled():
                raise
            self._failed(error)
        else:
            due = self.schedule.due
            self.schedule.succeeded(anyio.current_time())
            if due == -float("inf"):
                self.schedule.pushed()

    def _failed(self, error: BaseException) -> None:
        self.schedule.failed(anyio.current_time(), self._random)
        self._owner.unresolved(resolver_error(self._target, error))


def resolver_error(target: str, error: BaseException) -> OrbitError:
    """Return the error of calls that have nowhere to go: UNAVAILABLE, or the status that the resolver raised.

    A status that only applications may use becomes INTERNAL (gRFC A54).
    """
    if isinstance(error, GRPCError):
        status = Status.INTERNAL if error.status in _FOR_APPLICATIONS else Status(error.status)
        told = f"{error.status.name}: {error.message or ''}" if status is not error.status else error.message or ""
        failure: OrbitError = RpcError(status, f"cannot resolve {target}: {told}")
    else:
        failure = ConnectError(f"cannot resolve {target}: {error if isinstance(error, OrbitError) else repr(error)}")
    failure.__cause__ = error
    return failure
