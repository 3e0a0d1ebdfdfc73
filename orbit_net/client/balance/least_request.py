"""Least request: the less busy of a few (gRFC A48)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["Busy", "least_busy"]


class Busy(Protocol):
    """What has a number of open calls."""

    @property
    def active(self) -> int:
        """How many calls are open or wait for a stream."""


Item = TypeVar("Item", bound=Busy)


def least_busy(items: Sequence[Item], random: Random, choices: int) -> Item:
    """Return the item with the fewest open calls of ``choices`` taken by chance; the cost does not depend on how many.

    The same item may be taken twice, as in the gRFC: what matters is that the busiest is hardly ever chosen.
    """
    count = len(items)
    best = items[int(random.random() * count)]
    least = best.active
    for _ in range(choices - 1):
        item = items[int(random.random() * count)]
        active = item.active
        if active < least:
            best, least = item, active
    return best
