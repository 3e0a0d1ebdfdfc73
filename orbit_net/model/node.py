"""The identity of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID, uuid4

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from random import Random

__all__ = ["NodeId"]

_DEFAULT_NAMESPACE: Final = "default"
_BRACKETS: Final = frozenset("()")


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node of a cluster: a ``key`` that is unique in its ``namespace``.

    ``str`` gives ``namespace:key``, which Orbit-RS reads as well. Raises :class:`ConfigurationError` for an empty key,
    a round bracket in either part, and a colon in the namespace: none of them survives Orbit's text form.
    """

    key: str
    namespace: str = _DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigurationError("a node id needs a key that is not empty")
        if not _BRACKETS.isdisjoint(self.key) or not _BRACKETS.isdisjoint(self.namespace):
            raise ConfigurationError(f"the node id {self.namespace}:{self.key} holds a round bracket; none is allowed")
        if ":" in self.namespace:
            raise ConfigurationError(f"the namespace {self.namespace!r} holds a colon; only a key may")

    @classmethod
    def generate(cls, namespace: str = _DEFAULT_NAMESPACE, *, random: Random | None = None) -> Self:
        """Return an id with a random key (a UUID), by ``random`` where a test wants to know it."""
        return cls(str(uuid4() if random is None else UUID(int=random.getrandbits(128), version=4)), namespace)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``namespace:key``, ``(namespace:key)`` as Orbit-RS prints it, or a bare ``key`` of the default
        namespace.

        The first colon separates. No bracket is left, however often an Orbit-RS round trip put one there. Raises
        :class:`ConfigurationError` when no key is left.
        """
        bare = text.lstrip("(").rstrip(")")
        namespace, colon, key = bare.partition(":")
        return cls(key.lstrip("("), namespace.rstrip(")")) if colon else cls(bare)

    def __str__(self) -> str:
        return f"{self.namespace}:{self.key}"
