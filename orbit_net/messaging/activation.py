"""One living actor: its mailbox, and the task that runs its invocations one after the other."""

from __future__ import annotations

import logging
from collections import deque
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from orbit_net.errors import InvocationFailed
from orbit_net.messaging.actor_type import to_json
from orbit_net.messaging.asker import LOST, PLATFORM
from orbit_net.model import Failure, InvocationFailure, InvocationValue
from orbit_net.net import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.messaging.actor_type import ActorType
    from orbit_net.messaging.asker import Asker
    from orbit_net.model import AddressableReference, Invocation, InvocationResult

__all__ = ["Activation", "Phase", "Turn", "calling"]

_log = logging.getLogger("orbit_net.messaging")

calling: Final[ContextVar[tuple[AddressableReference, ...]]] = ContextVar("orbit_net_calling", default=())
"""The actors whose methods are waiting, on this node, for what this task does."""


class Phase(Enum):
    """ALIVE takes invocations and runs them; CLOSING runs what it has; GONE has left the table."""

    ALIVE = "alive"
    CLOSING = "closing"
    GONE = "gone"


class Turn(NamedTuple):
    """One invocation in a mailbox; ``chain`` are the actors on this node that wait for it."""

    invocation: Invocation
    asker: Asker
    arguments: Any
    chain: tuple[AddressableReference, ...]


class Activation:
    """Runs one turn at a time, in the order of arrival.

    A turn that has begun runs to its end whoever is still there to hear of it: half a debit would be worse than a
    debit that nobody sees. One whose asker has gone before it began is not begun.
    """

    __slots__ = ("_actor", "_mailbox", "_type", "_wake", "late", "phase", "quiet_since", "reference")

    def __init__(self, reference: AddressableReference, actor_type: ActorType) -> None:
        self.reference = reference
        self.phase = Phase.ALIVE
        self.quiet_since: float | None = None
        self.late: list[Turn] = []
        self._type = actor_type
        self._mailbox: deque[Turn] = deque()
        self._wake: anyio.Event | None = None
        self._actor: Any = None

    @property
    def size(self) -> int:
        """How many turns wait."""
        return len(self._mailbox) + len(self.late)

    def add(self, turn: Turn) -> None:
        """Put a turn at the end; one that comes while the actor is closing waits for what comes after it."""
        if self.phase is not Phase.ALIVE:
            self.late.append(turn)
            return
        self._mailbox.append(turn)
        self._rouse()

    def close(self) -> None:
        """Finish what is in the mailbox, then deactivate. Does not wait."""
        if self.phase is Phase.ALIVE:
            self.phase = Phase.CLOSING
            self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self, deactivation: float, release: Callable[[AddressableReference], Awaitable[None]]) -> None:
        """Activate, run turns until closed, deactivate, and let go of the actor's place. Raises only cancellation."""
        try:
            if await self._activate():
                await self._run_turns()
                with anyio.move_on_after(deactivation):
                    await self._hook("on_deactivate")
            with anyio.move_on_after(deactivation):
                await release(self.reference)
        except BaseException:  # cancelled: the node stops
            for turn in (*self._mailbox, *self.late):
                turn.asker.answer(Failure("the node stopped before the method began"))
            self.late.clear()
            raise
        finally:
            self.phase = Phase.GONE

    async def _activate(self) -> bool:
        try:
            self._actor = self._type.make(self.reference)
            await self._hook("on_activate", quiet=False)
        except Exception as error:  # noqa: BLE001 - an actor may raise anything
            _log.exception("activating %s failed", self.reference)
            self.phase = Phase.CLOSING
            reason = f"activating {self.reference} failed with {type(error).__name__}"
            while self._mailbox:
                self._mailbox.popleft().asker.answer(InvocationFailure(reason, PLATFORM))
            return False
        return True

    async def _hook(self, name: str, *, quiet: bool = True) -> None:
        hook = getattr(self._actor, name, None)
        if hook is None:
            return
        try:
            await hook()
        except Exception:
            if not quiet:
                raise
            _log.exception("%s of %s failed", name, self.reference)

    async def _run_turns(self) -> None:
        mailbox = self._mailbox
        while True:
            while mailbox:
                turn = mailbox.popleft()
                if turn.asker.wanted:
                    await self._run_turn(turn)
            if self.phase is not Phase.ALIVE:
                return
            self.quiet_since = anyio.current_time()
            self._wake = anyio.Event()
            await self._wake.wait()
            self.quiet_since = None

    async def _run_turn(self, turn: Turn) -> None:
        calling.set((*turn.chain, self.reference))
        result: InvocationResult = InvocationFailure("the node stopped while the method ran", LOST)
        try:
            result = await self._result(turn)
        finally:
            turn.asker.answer(result)

    async def _result(self, turn: Turn) -> InvocationResult:
        method = turn.invocation.method
        positional, named = turn.arguments
        try:
            value = await getattr(self._actor, method)(*positional, **named)
        except InvocationFailed as error:
            return InvocationFailure(error.reason, PLATFORM)
        except Exception as error:  # noqa: BLE001 - an actor may raise anything
            _log.exception("%s.%s failed", self.reference, method)
            return InvocationFailure(f"the invocation failed with {type(error).__name__}", PLATFORM)
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
            _log.exception("%s.%s let a foreign cancellation escape", self.reference, method)
            return InvocationFailure("the invocation was cancelled by its own code", PLATFORM)
        try:
            return InvocationValue(to_json(value))
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"the value of {method} cannot be written as JSON: {error}"
            return InvocationFailure(reason, PLATFORM)

    def __repr__(self) -> str:
        return f"<Activation {self.reference} {self.phase.value}, {self.size} waiting>"
