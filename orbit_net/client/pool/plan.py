"""Which connection of an endpoint a call takes, and which are opened and closed: one decision, without waiting.

Everything that the pool does to its connections is decided here from a picture of them, so there is nothing to lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Plan", "Standing", "plan"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts of one connection: its calls, how many it can carry, and its times in seconds."""

    active: int
    capacity: int
    created: float
    last_used: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, by position: close these, and give the call that one; the position after the last is new."""

    close: tuple[int, ...]
    use: int | None = None


def plan(
    connections: Sequence[Standing],
    now: float,
    *,
    limit: int,
    max_age: float,
    max_idle: float | None = None,
    call: bool = False,
) -> Plan:
    """Decide on the connections of one endpoint.

    Closed is what has no calls and is older than ``max_age``, or has been idle for ``max_idle``. A connection over its
    age takes no more calls and goes on with those it has, beside at most ``limit`` others. A ``call`` goes to the first
    connection with room, so that those behind it become idle; when all are full to a further one, while there are less
    than ``limit``; and then to the one with the fewest calls, to wait there.
    """
    old = {number for number, one in enumerate(connections) if now - one.created >= max_age}
    close = tuple(
        number
        for number, one in enumerate(connections)
        if not one.active and (number in old or (max_idle is not None and now - one.last_used >= max_idle))
    )
    if not call:
        return Plan(close)
    usable = [number for number in range(len(connections)) if number not in old and number not in close]
    for number in usable:
        if connections[number].active < connections[number].capacity:
            return Plan(close, number)
    if len(usable) < limit:
        return Plan(close, len(connections))
    return Plan(close, min(usable, key=lambda number: connections[number].active))
