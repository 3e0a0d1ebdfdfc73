"""The one retry layer of invocations: find the actor, ask, and ask again where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from orbit_net.context import inherited_deadline
from orbit_net.errors import (
    ClusterError,
    ConnectionLost,
    InvocationFailed,
    NodeNotFound,
    OrbitError,
    OrbitTimeout,
)
from orbit_net.messaging.asker import LOST, TIMED_OUT
from orbit_net.messaging.question import Awaited
from orbit_net.model import Failure, InvocationFailure, InvocationValue, Message, RoutedUnicast, Unicast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from orbit_net.directory import Directory
    from orbit_net.messaging.asker import Asker
    from orbit_net.messaging.links import Links
    from orbit_net.messaging.settings import LinkSettings
    from orbit_net.model import Invocation, NodeId, Target

__all__ = ["Caller"]


class Caller:
    """Carries out invocations for the callers of one node; ``here`` takes those for the node's own actors."""

    def __init__(
        self,
        node_id: NodeId,
        directory: Directory,
        links: Links,
        settings: LinkSettings,
        random: Random,
        here: Callable[[Invocation, Asker], None],
    ) -> None:
        self.node_id = node_id
        self.directory = directory
        self.settings = settings
        self._links = links
        self._random = random
        self._here = here

    async def invoke(
        self, invocation: Invocation, *, timeout: float | None, idempotent: bool, via: Sequence[NodeId]
    ) -> str:
        """Return the value's JSON; see :meth:`ActorNode.invoke`."""
        until = anyio.current_time() + (self.settings.timeout if timeout is None else timeout)
        deadline = inherited_deadline.get()
        if deadline is not None and deadline < until:
            until = deadline
        attempts, lost_nodes = 0, 0
        last: OrbitError | None = None
        while True:
            if anyio.current_time() >= until:
                what = f"{invocation.reference}.{invocation.method}"
                raise OrbitTimeout(f"{what} was not carried out in time{'' if last is None else f': {last}'}") from last
            try:
                question = await self._attempt(invocation, until, idempotent, via, attempts)
            except NodeNotFound as error:
                lost_nodes += 1
                if lost_nodes > 2:
                    raise
                last = error
            except ClusterError:
                raise
            except OrbitError as error:
                if not error.retryable:
                    raise
                last = error
            else:
                outcome = _outcome(invocation, question, idempotent=idempotent)
                if isinstance(outcome, str):
                    return outcome
                last = outcome
            self.directory.forget(invocation.reference)
            attempts += 1
            pause = self.settings.backoff.delay(attempts, self._random)
            await anyio.sleep(max(0.0, min(pause, until - anyio.current_time())))

    async def _attempt(
        self, invocation: Invocation, until: float, idempotent: bool, via: Sequence[NodeId], attempts: int
    ) -> Awaited:
        reference = invocation.reference
        owner = self.directory.cached_owner(reference)
        if owner is None:
            owner = await self._in_time(until, self.directory.resolve_addressable, reference)
        if owner == self.node_id and not via:
            return await self._ask_here(invocation, until)
        target: Target = RoutedUnicast((*via, owner)) if via else Unicast(owner)
        first = via[0] if via else owner
        link = self._links.get(first)
        if link is None or attempts:
            link = await self._in_time(until, self._links.open, first)
        question = await link.ask(invocation, until=until, idempotent=idempotent, target=target, attempts=attempts)
        if isinstance(question.content, InvocationValue) and question.source not in (None, owner):
            self.directory.disowned(reference, owner, found=question.source)  # another node had the actor
        return question

    async def _in_time(self, until: float, ask: Callable[[Any], Awaitable[Any]], about: object) -> Any:
        with anyio.move_on_at(until):
            return await ask(about)
        raise OrbitTimeout(f"the directory did not answer about {about} in time")

    async def _ask_here(self, invocation: Invocation, until: float) -> Awaited:
        question = Awaited(Message(0, invocation), idempotent=False)
        timer = self._links.timers.add(until, question)
        try:
            self._here(invocation, question)
            await question.event.wait()
        finally:
            question.over = True
            self._links.timers.cancel(timer)
        return question


def _outcome(invocation: Invocation, question: Awaited, *, idempotent: bool) -> str | OrbitError:
    """Return the value, or the reason to try again; raise what is final."""
    content = question.content
    if isinstance(content, InvocationValue):
        return content.value
    if isinstance(content, InvocationFailure):
        if content.platform not in (LOST, TIMED_OUT):
            raise InvocationFailed(
                content.description,
                actor_type=invocation.reference.addressable_type,
                method=invocation.method,
                platform=content.platform,
            )
        error: OrbitError = ConnectionLost(content.description)
        if content.platform == TIMED_OUT:
            error = OrbitTimeout(content.description)
    elif isinstance(content, Failure):
        return ConnectionLost(content.description)
    elif content is not None:
        error = ConnectionLost(f"the answer to an invocation was {type(content).__name__}")
    else:
        assert question.error is not None
        error = question.error
        if not question.reached and error.retryable and not isinstance(error, OrbitTimeout):
            return error
    if idempotent and isinstance(error, ConnectionLost):
        return error
    raise error
