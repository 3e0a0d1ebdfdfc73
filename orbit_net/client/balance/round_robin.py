"""Round robin: one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Turns"]

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Gives the items in turn, beginning with number ``start`` modulo their number.

    Invariant: after ``n`` picks any two items were picked equally often, or one once more than the other.
    """

    __slots__ = ("_items", "_next")

    def __init__(self, items: Sequence[Item], start: int) -> None:
        self._items = items
        self._next = start % len(items)

    def pick(self) -> Item:
        """Return whose turn it is."""
        items, number = self._items, self._next
        self._next = number + 1 if number + 1 < len(items) else 0
        return items[number]
