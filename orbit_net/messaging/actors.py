"""The actors of one node: types, activations, and the end of those that nobody calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import anyio

from orbit_net.context import detached
from orbit_net.errors import ConfigurationError, InvocationFailed
from orbit_net.messaging.activation import Activation, Phase, Turn, calling
from orbit_net.messaging.actor_type import ActorType
from orbit_net.messaging.asker import PLATFORM
from orbit_net.messaging.settings import ActorSettings
from orbit_net.model import Failure, InvocationFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.messaging.asker import Asker
    from orbit_net.model import AddressableReference, Invocation

__all__ = ["ActorServer"]


class ActorServer:
    """Runs the actors of registered types: activated at their first invocation, one invocation of one actor at a time.

    Actors run side by side. An actor is **not re-entrant**: while one of its methods waits for another actor, its next
    invocation waits too. A call that comes back to an actor which waits for it would therefore never end; it is refused
    at once where the whole chain is on this node, and ends by its timeout where the chain left the node.

    ``release`` is awaited when an actor was deactivated, before anything can activate it again; ``redeliver`` takes
    what arrived for it meanwhile. Needs ``async with``, which owns the actors' tasks; leaving the block cancels them:
    call :meth:`drain` before to let them finish.
    """

    def __init__(
        self,
        *,
        settings: ActorSettings | None = None,
        release: Callable[[AddressableReference], Awaitable[None]] | None = None,
        redeliver: Callable[[Invocation, Asker], None] | None = None,
    ) -> None:
        self.settings = settings or ActorSettings()
        self._release = release or _nothing
        self._redeliver = redeliver or self.submit
        self._types: dict[str, ActorType] = {}
        self._activations: dict[AddressableReference, Activation] = {}
        self._tasks: TaskGroup | None = None
        self._emptied: anyio.Event | None = None

    def register(
        self,
        actor_class: type,
        *,
        name: str | None = None,
        factory: Callable[[AddressableReference], Any] | None = None,
    ) -> None:
        """Host actors of a class under ``name`` (default: the class's), made by ``factory`` (default: the class).

        Either is called with the actor's reference. ``async def on_activate(self)`` and ``on_deactivate(self)`` are
        called where the class has them. Raises :class:`ConfigurationError` for a name that is taken.
        """
        name = actor_class.__name__ if name is None else name
        if name in self._types:
            raise ConfigurationError(f"the actor type {name!r} is registered already")
        self._types[name] = ActorType(actor_class, name, factory)

    @property
    def addressable_types(self) -> tuple[str, ...]:
        """The registered types."""
        return tuple(self._types)

    @property
    def active(self) -> tuple[AddressableReference, ...]:
        """The actors that are activated now."""
        return tuple(self._activations)

    def hosts(self, reference: AddressableReference) -> bool:
        """Whether the actor is activated here, or being deactivated."""
        return reference in self._activations

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("an actor server can be entered once; make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._sweep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
        await self._tasks.__aexit__(None, None, None)

    async def drain(self) -> None:
        """Let every actor finish its mailbox and deactivate it. Cancellation leaves them closing."""
        while self._activations:
            self.deactivate_all()
            self._emptied = anyio.Event()
            await self._emptied.wait()

    def deactivate_all(self) -> None:
        """Have every actor finish its mailbox and go. Does not wait."""
        for activation in self._activations.values():
            activation.close()

    def deactivate(self, reference: AddressableReference) -> None:
        """Have one actor finish its mailbox and go; no effect on one that is not activated. Does not wait."""
        activation = self._activations.get(reference)
        if activation is not None:
            activation.close()

    async def _sweep(self) -> None:
        """Deactivate what was quiet for the idle time; it is looked for four times in that time."""
        idle = self.settings.idle
        while True:
            await anyio.sleep(idle / 4)
            before = anyio.current_time() - idle
            for activation in list(self._activations.values()):
                if activation.quiet_since is not None and activation.quiet_since <= before:
                    activation.close()

    # --- invocations -----------------------------------------------------------------------------

    def submit(self, invocation: Invocation, asker: Asker) -> None:
        """Have an invocation run and answered. Never blocks.

        Answers with :class:`InvocationFailure` what can never succeed (unknown type or method, bad arguments, a call
        that waits for itself), and with :class:`Failure` what did not reach the actor for want of room.
        """
        reference = invocation.reference
        actor_type = self._types.get(reference.addressable_type)
        if actor_type is None:
            reason = f"the actor type {reference.addressable_type!r} is not known here"
            asker.answer(InvocationFailure(reason, PLATFORM))
            return
        try:
            arguments = actor_type.bind(invocation.method, invocation.arguments)
        except InvocationFailed as error:
            asker.answer(InvocationFailure(error.reason, PLATFORM))
            return
        chain = calling.get()
        if reference in chain:
            reason = f"{reference} waits for this call itself; actors are not re-entrant"
            asker.answer(InvocationFailure(reason, PLATFORM))
            return
        activation = self._activations.get(reference) or self._activate(reference, actor_type, asker)
        if activation is None:
            return
        if activation.size >= self.settings.max_mailbox:
            asker.answer(Failure(f"{activation.size} invocations wait for {reference}; there is no room for more"))
            return
        activation.add(Turn(invocation, asker, arguments, chain))

    def _activate(self, reference: AddressableReference, actor_type: ActorType, asker: Asker) -> Activation | None:
        if self._tasks is None:
            raise ConfigurationError("the actors are not running: use 'async with' on them first")
        if len(self._activations) >= self.settings.max_actors:
            asker.answer(Failure(f"{len(self._activations)} actors are active; there is no room for more"))
            return None
        activation = self._activations[reference] = Activation(reference, actor_type)
        token = calling.set(())
        with detached():  # the actor outlives the call that activates it
            self._tasks.start_soon(self._live, activation)
        calling.reset(token)
        return activation

    async def _live(self, activation: Activation) -> None:
        try:
            await activation.run(self.settings.deactivation, self._release)
        finally:
            del self._activations[activation.reference]
            if not self._activations and self._emptied is not None:
                self._emptied.set()
        calling.set(())  # this task does not call any more
        for turn in activation.late:
            self._redeliver(turn.invocation, turn.asker)

    def __repr__(self) -> str:
        closing = sum(activation.phase is not Phase.ALIVE for activation in self._activations.values())
        return f"<ActorServer of {len(self._types)} types, {len(self._activations)} active, {closing} closing>"


async def _nothing(reference: AddressableReference) -> None:
    """Let go of nothing."""
