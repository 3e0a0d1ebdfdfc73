"""What an actor class offers: its async methods, their arguments in JSON, and which may run twice."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orbit_net.errors import ConfigurationError, InvocationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orbit_net.model import AddressableReference

__all__ = ["ActorType", "idempotent", "idempotent_methods", "to_json"]

Function = TypeVar("Function", bound="Callable[..., Any]")

_MARK: Final = "__orbit_idempotent__"
_HOOKS: Final = frozenset({"on_activate", "on_deactivate"})


def idempotent(function: Function) -> Function:
    """Mark an actor's method: running it twice does no harm, so it is sent again when its connection is lost.

    Example::

        class Account:
            @idempotent
            async def balance(self) -> int: ...
    """
    setattr(function, _MARK, True)
    return function


def idempotent_methods(actor_class: type) -> frozenset[str]:
    """Return the names of the methods that are marked in a class."""
    return frozenset(name for name, member in inspect.getmembers(actor_class) if getattr(member, _MARK, False))


class ActorType:
    """One registered type. Its methods are the public ``async def`` of the class, the two hooks left out.

    Raises :class:`ConfigurationError` for a class without any, and for a public method that is not ``async def``.
    """

    def __init__(
        self, actor_class: type, name: str, factory: Callable[[AddressableReference], Any] | None = None
    ) -> None:
        self.name = name
        self.make: Callable[[AddressableReference], Any] = actor_class if factory is None else factory
        self._methods = _methods_of(actor_class)
        if not self._methods:
            raise ConfigurationError(f"the actor type {name!r} has no public async method")

    def bind(self, method: str, arguments: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the positional and the named arguments of a call, which is sure to fit the method.

        Raises :class:`InvocationFailed` for an unknown method, broken JSON, and arguments that do not fit.
        """
        signature = self._methods.get(method)
        if signature is None:
            raise self._refusal(method, f"there is no method {method!r}")
        try:
            given = json.loads(arguments) if arguments else []
        except (ValueError, RecursionError) as error:
            raise self._refusal(method, f"the arguments are not JSON: {error}") from None
        if isinstance(given, dict):
            positional, named = [], given
        elif isinstance(given, list):
            positional, named = given, {}
        else:
            raise self._refusal(method, "the arguments must be a JSON object or array")
        try:
            signature.bind(None, *positional, **named)
        except TypeError as error:
            raise self._refusal(method, f"the arguments do not fit: {error}") from None
        return tuple(positional), named

    def _refusal(self, method: str, reason: str) -> InvocationFailed:
        return InvocationFailed(reason, actor_type=self.name, method=method)

    def __repr__(self) -> str:
        return f"<ActorType {self.name}: {', '.join(sorted(self._methods))}>"


def _methods_of(actor_class: type) -> dict[str, inspect.Signature]:
    methods = {}
    for name, member in inspect.getmembers(actor_class, inspect.isfunction):
        if name.startswith("_") or name in _HOOKS:
            continue
        if not inspect.iscoroutinefunction(member):
            text = f"{actor_class.__name__}.{name} is not 'async def'; name it with an underscore if nobody invokes it"
            raise ConfigurationError(text)
        methods[name] = inspect.signature(member)
    return methods


def to_json(value: Any) -> str:
    """Return compact JSON; raises :class:`ValueError` or :class:`TypeError` for what JSON has no form for."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
