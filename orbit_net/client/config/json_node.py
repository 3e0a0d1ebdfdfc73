"""A value of a JSON document that knows where it stands, and the scalars that protobuf's JSON mapping has.

Numbers may be strings, a duration is text in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Node", "boolean", "duration", "integer", "number", "text"]

Made = TypeVar("Made")

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s").fullmatch


def text(node: Node) -> str:
    """Return a string; refuses anything else."""
    return node.value if isinstance(node.value, str) else node.refuse("a string")


def boolean(node: Node) -> bool:
    """Return true or false; refuses anything else."""
    return node.value if isinstance(node.value, bool) else node.refuse("true or false")


def integer(node: Node) -> int:
    """Return an integer, which may be written as text; refuses anything else."""
    value = node.value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else node.refuse("an integer")


def number(node: Node) -> float:
    """Return a number, which may be written as text; refuses anything else."""
    value = node.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    try:
        return float(text(node))
    except ValueError:
        node.refuse("a number")


def duration(node: Node) -> float:
    """Return seconds; refuses anything else."""
    match = _DURATION(node.value) if isinstance(node.value, str) else None
    return float(match[1]) if match else node.refuse("a duration in seconds such as '1.5s'")


class Node:
    """A value and where it stands."""

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value

    def refuse(self, allowed: str) -> NoReturn:
        """Raise :class:`ConfigurationError` that says what is allowed here."""
        where = self.path.lstrip(".") or "it"
        raise ConfigurationError(f"service config: {where} is {self.value!r}; it must be {allowed}")

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The object that stands here; refuses anything else."""
        return self.value if isinstance(self.value, Mapping) else self.refuse("an object")

    def required(self, key: str, read: Callable[[Node], Any]) -> Any:
        """Return what ``read`` makes of a key that must be there."""
        if self.mapping.get(key) is None:
            self.refuse(f"an object with {key}")
        return read(Node(f"{self.path}.{key}", self.mapping[key]))

    def optional(self, key: str, read: Callable[[Node], Any]) -> Any:
        """A null is as good as no key (JSON mapping of protobuf)."""
        return None if self.mapping.get(key) is None else self.required(key, read)

    def items(self, key: str) -> list[Node]:
        """Return the elements of a list; none without the key."""
        values = self.mapping.get(key)
        if values is not None and not isinstance(values, list):
            Node(f"{self.path}.{key}", values).refuse("a list")
        return [Node(f"{self.path}.{key}[{i}]", value) for i, value in enumerate(values or ())]

    def make(self, kind: Callable[..., Made], **fields: Any) -> Made:
        """Make the object of this node; what it refuses is told with the path."""
        try:
            return kind(**fields)
        except ConfigurationError as error:
            where = self.path.lstrip(".")
            raise ConfigurationError(f"service config{': ' + where if where else ''}: {error}") from None
