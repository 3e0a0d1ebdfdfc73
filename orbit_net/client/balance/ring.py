"""The ring of consistent hashing (gRFC A42, "Ring Creation")."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from orbit_net.client.balance.xxhash import xxh64

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

__all__ = ["Ring"]


class Ring:
    """Places of hosts in the order of their hashes; looking one up costs O(log n).

    ``places`` are hashes and numbers of hosts, in order. In a ring made :meth:`of` hosts one with twice the weight has
    twice the places. There are at least ``smallest`` and at most ``largest`` places in all, as in the gRFC; or, with
    ``places``, each host has so many times its weight, whatever others there are, so that a host that leaves moves no
    key but its own.
    """

    __slots__ = ("_hashes", "_hosts")

    def __init__(self, places: Sequence[tuple[int, int]]) -> None:
        self._hashes = array("Q", [place for place, _ in places])
        self._hosts = array("L", [number for _, number in places])

    @classmethod
    def of(cls, hosts: Sequence[tuple[str, float]], *, smallest: int, largest: int, places: int | None = None) -> Ring:
        """Return the ring of hosts, which have names and weights above 0, and are numbered as they come."""
        weights = [weight for _, weight in hosts]
        counts = _scaled(weights, smallest, largest) if places is None else _steady(weights, places, largest)
        return cls(
            sorted(
                (xxh64(f"{name}_{place}".encode()), number)
                for number, ((name, _), count) in enumerate(zip(hosts, counts, strict=True))
                for place in range(count)
            )
        )

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, value: int) -> int:
        """Return the number of the host whose place is the first at or after ``value``; IndexError without any."""
        at = bisect_left(self._hashes, value)
        return self._hosts[at if at < len(self._hosts) else 0]

    def following(self, value: int, limit: int) -> Iterator[int]:
        """Yield the hosts of at most ``limit`` places after that of :meth:`find`, around the ring."""
        hosts = self._hosts
        at = bisect_left(self._hashes, value)
        for offset in range(1, min(limit, len(hosts) - 1) + 1):
            yield hosts[(at + offset) % len(hosts)]

    def only(self, numbers: Container[int]) -> Ring:
        """Return the ring with the places of these hosts alone: a key goes to the first of them around the ring."""
        every = zip(self._hashes, self._hosts, strict=True)
        return Ring([(place, number) for place, number in every if number in numbers])

    def share(self, number: int) -> float:
        """Return which part of all hashes belongs to a host."""
        hashes, hosts = self._hashes, self._hosts
        owned = sum(
            (place - hashes[at - 1]) % (1 << 64) or (1 << 64) * (len(hashes) == 1)
            for at, place in enumerate(hashes)
            if hosts[at] == number
        )
        return owned / (1 << 64)


def _scaled(weights: Sequence[float], smallest: int, largest: int) -> list[int]:
    """Return the number of places of each host so that the lightest has a whole number, as gRFC A42 has it."""
    total = math.fsum(weights)
    lightest = min(weights) / total
    scale = min(math.ceil(lightest * smallest) / lightest, float(largest))
    counts, target, made = [], 0.0, 0
    for weight in weights:
        target += scale * weight / total
        # The sum of many fractions may pass a whole number by a hair.
        counts.append(max(0, math.ceil(target - 1e-9) - made))
        made += counts[-1]
    return counts


def _steady(weights: Sequence[float], places: int, largest: int) -> list[int]:
    """Return the number of places of each host by its weight alone; all are halved while there are too many."""
    scale, largest = float(places), max(largest, len(weights))
    while True:
        counts = [max(1, round(scale * weight)) for weight in weights]
        if sum(counts) <= largest:
            return counts
        scale /= 2
