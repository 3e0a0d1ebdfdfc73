"""Happy eyeballs: in which order, and when, several addresses are tried (RFC 8305, gRFC A61). Pure."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING

from orbit_net.net import TcpAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.net import Address

__all__ = ["Race", "interleave"]


class Race:
    """Attempts ``0 … count - 1``, each begun ``delay`` seconds after the one before, or when that has failed.

    Ask :meth:`due` what to begin, tell :meth:`failed` of each end; the first success ends the race.
    """

    __slots__ = ("_begun", "_count", "_delay", "_failed", "_next_at")

    def __init__(self, count: int, delay: float) -> None:
        self._count = count
        self._delay = delay
        self._begun = 0
        self._failed = 0
        self._next_at = -math.inf

    @property
    def next_at(self) -> float:
        """When :meth:`due` gives something next, unless an attempt fails before that; infinite if never."""
        return self._next_at if self._begun < self._count else math.inf

    @property
    def lost(self) -> bool:
        """Whether every attempt has failed."""
        return self._failed == self._count

    def due(self, now: float) -> int | None:
        """Return the number of the attempt to begin now, if any."""
        if now < self.next_at:
            return None
        number = self._begun
        self._begun += 1
        self._next_at = now + self._delay
        return number

    def failed(self, now: float) -> None:
        """Take notice that an attempt has failed: the next one need not wait."""
        self._failed += 1
        self._next_at = min(self._next_at, now)


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with their families alternating, in the order of each, without repetitions.

    The first stays the first (RFC 8305 §4): where one family does not work, the second attempt is of the other.
    """
    families: dict[str, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(_family(address), []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


def _family(address: Address) -> str:
    if not isinstance(address, TcpAddress):
        return "unix"
    return "ipv6" if ":" in address.host else "ipv4"
