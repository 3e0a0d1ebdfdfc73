"""The ring of consistent hashing (gRFC A42, "Ring Creation")."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from orbit_net.client.balance.xxhash import xxh64

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Ring"]


class Ring:
    """Places of hosts in the order of their hashes; looking one up costs O(log n).

    ``hosts`` are the names and weights (above 0). A host with twice the weight has twice the places; the lightest has
    at least one, unless ``largest`` places do not suffice for that.
    """

    __slots__ = ("_hashes", "_hosts")

    def __init__(self, hosts: Sequence[tuple[str, float]], *, smallest: int, largest: int) -> None:
        total = math.fsum(weight for _, weight in hosts)
        lightest = min(weight for _, weight in hosts) / total
        scale = min(math.ceil(lightest * smallest) / lightest, float(largest))
        places: list[tuple[int, int]] = []
        target = 0.0
        for number, (name, weight) in enumerate(hosts):
            target += scale * weight / total
            first = len(places)
            while len(places) < target - 1e-9:  # the sum of many fractions may pass a whole number by a hair
                places.append((xxh64(f"{name}_{len(places) - first}".encode()), number))
        places.sort()
        self._hashes = array("Q", [place for place, _ in places])
        self._hosts = array("L", [number for _, number in places])

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, value: int) -> int:
        """Return the number of the host whose place is the first at or after ``value``."""
        at = bisect_left(self._hashes, value)
        return self._hosts[at if at < len(self._hosts) else 0]

    def walk(self, value: int) -> Iterator[int]:
        """Yield the numbers of the hosts from there around the ring, each once; those without a place are left out."""
        hosts = self._hosts
        at, seen = bisect_left(self._hashes, value), set[int]()
        for offset in range(len(hosts)):
            number = hosts[(at + offset) % len(hosts)]
            if number not in seen:
                seen.add(number)
                yield number

    def share(self, number: int) -> float:
        """Return which part of all hashes belongs to a host."""
        hashes, hosts = self._hashes, self._hosts
        owned = sum(
            (place - hashes[at - 1]) % (1 << 64) or (1 << 64) * (len(hashes) == 1)
            for at, place in enumerate(hashes)
            if hosts[at] == number
        )
        return owned / (1 << 64)
