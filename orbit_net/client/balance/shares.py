"""Weighted round robin: each as often as its weight, and as evenly spread as that allows."""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["Shares", "usable"]

Item = TypeVar("Item")


class Shares(Generic[Item]):
    """Earliest deadline first: an item of weight ``w`` is due every ``1 / w``; a pick takes the one that is due first.

    A pick costs O(log n). The first deadlines lie by chance within the item's own period, so that clients that made
    their schedules together do not go around together. Weights are above 0.
    """

    __slots__ = ("_heap", "_items")

    def __init__(self, items: Sequence[Item], weights: Sequence[float], random: Random) -> None:
        self._items = items
        # A period relative to the heaviest keeps deadlines small, whatever the unit of the weights.
        most = max(weights)
        periods = [most / weight for weight in weights]
        self._heap = [(random.random() * period, number, period) for number, period in enumerate(periods)]
        heapify(self._heap)

    def pick(self) -> Item:
        """Return the item that is due first."""
        heap = self._heap
        due, number, period = heap[0]
        heapreplace(heap, (due + period, number, period))
        return self._items[number]


def usable(weights: Sequence[float]) -> list[float] | None:
    """Return weights of which each is above 0, or None when they say nothing: gRFC A58, "Weight Calculation".

    An item without a weight (0) gets the mean of the others; fewer than two weights are too few to compare.
    """
    known = [weight for weight in weights if weight > 0]
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return [weight if weight > 0 else mean for weight in weights]
