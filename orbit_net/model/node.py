"""The identity of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from orbit_net.errors import ConfigurationError

__all__ = ["NodeId"]

_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node of a cluster: a ``key`` that is unique in its ``namespace``.

    ``str`` gives ``namespace:key``, which Orbit-RS reads as well. Raises :class:`ConfigurationError` for an empty key.
    """

    key: str
    namespace: str = _DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigurationError("a node id needs a key that is not empty")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``namespace:key``, ``(namespace:key)`` as Orbit-RS prints it, or a bare ``key`` of the default
        namespace.

        The first colon separates. Raises :class:`ConfigurationError` when no key is left.
        """
        bare = text[1:-1] if text.startswith("(") and text.endswith(")") else text
        namespace, colon, key = bare.partition(":")
        return cls(key, namespace) if colon else cls(bare)

    def __str__(self) -> str:
        return f"{self.namespace}:{self.key}"
