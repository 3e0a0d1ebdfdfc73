"""What callers hold of an actor: a reference that invokes, and a proxy with the methods of the actor's class."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from orbit_net.errors import ConfigurationError
from orbit_net.messaging.actor_type import idempotent_methods, to_json
from orbit_net.model import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from orbit_net.messaging.node import ActorNode
    from orbit_net.model import AddressableReference, NodeId

__all__ = ["ActorProxy", "ActorRef"]


class ActorRef:
    """One actor, wherever it lives. Cheap to make and to keep.

    ``timeout``: seconds for each invocation, None for the node's own; ``idempotent``: the names of the methods that may
    run twice; ``via``: the nodes that its messages pass on their way, in order.
    """

    __slots__ = ("_node", "idempotent", "reference", "timeout", "via")

    def __init__(
        self,
        node: ActorNode,
        reference: AddressableReference,
        *,
        timeout: float | None = None,
        idempotent: frozenset[str] = frozenset(),
        via: Sequence[NodeId] = (),
    ) -> None:
        self._node = node
        self.reference = reference
        self.timeout = timeout
        self.idempotent = idempotent
        self.via = tuple(via)

    async def invoke(self, method: str, /, *positional: Any, **named: Any) -> Any:
        """Run a method of the actor and return its value, both in JSON on their way.

        Raises :class:`InvocationFailed` when the method failed or does not exist; :class:`ConnectionLost` when the way
        broke after it was sent, so that it may have run; :class:`OrbitTimeout` when the time was up;
        :class:`ClusterError` when no node hosts the type; :class:`ConfigurationError` for arguments that JSON has no
        form for, named and positional ones together, and an invocation too large for a message. Cancellation ends the
        waiting; the method may run all the same.
        """
        if positional and named:
            raise ConfigurationError(f"{method} has positional and named arguments; the wire takes one kind at a time")
        try:
            arguments = to_json(named or list(positional))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"the arguments of {method} cannot be written as JSON: {error}") from error
        value = await self._node.invoke(
            Invocation(self.reference, method, arguments),
            timeout=self.timeout,
            idempotent=method in self.idempotent,
            via=self.via,
        )
        return json.loads(value)

    def __repr__(self) -> str:
        return f"<ActorRef {self.reference}>"


class ActorProxy:
    """The methods of an actor class, run where the actor lives; made by :meth:`ActorNode.proxy`."""

    __slots__ = ("_actor_class", "_ref")

    def __init__(self, actor_class: type, ref: ActorRef) -> None:
        self._actor_class = actor_class
        self._ref = ref

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        function = getattr(self._actor_class, name, None)
        if name.startswith("_") or not inspect.iscoroutinefunction(function):
            raise AttributeError(f"{self._actor_class.__name__} has no async method {name!r}")
        signature = inspect.signature(function)
        ref = self._ref

        async def call(*positional: Any, **named: Any) -> Any:
            bound = signature.bind(None, *positional, **named)
            return await ref.invoke(name, *bound.args[1:]) if not named else await ref.invoke(name, **_named(bound))

        return call

    def __repr__(self) -> str:
        return f"<ActorProxy {self._ref.reference}>"


def _named(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return all arguments by name; raises :class:`ConfigurationError` for a method where that is not possible."""
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            raise ConfigurationError(f"{name} has no name on the wire; pass all arguments by position")
        else:
            named[name] = value
    return named


def marked(actor_class: type | str) -> frozenset[str]:
    """Return the idempotent methods of a class; a bare name has none that are known."""
    return frozenset() if isinstance(actor_class, str) else idempotent_methods(actor_class)
