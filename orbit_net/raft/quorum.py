"""What a majority has agreed on."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from orbit_net.raft.membership import Membership

__all__ = ["Verdict", "agreed", "majority_active", "verdict"]


class Verdict(Enum):
    """How a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def agreed(membership: Membership, values: Mapping[str, int]) -> int:
    """Return the largest number that a majority of the voters, and of the outgoing voters, has reached.

    A voter without a value is at 0. Without voters the answer is 0: nobody can agree.
    """
    result = _majority_value(membership.voters, values)
    if membership.outgoing:
        return min(result, _majority_value(membership.outgoing, values))
    return result


def _majority_value(voters: Set[str], values: Mapping[str, int]) -> int:
    if not voters:
        return 0
    reached = sorted([values.get(voter, 0) for voter in voters], reverse=True)
    return reached[len(reached) // 2]


def verdict(membership: Membership, votes: Mapping[str, bool]) -> Verdict:
    """Return how the vote stands; ``votes`` holds those that have answered, and others than voters do not count."""
    first = _verdict_of(membership.voters, votes)
    if not membership.outgoing:
        return first
    second = _verdict_of(membership.outgoing, votes)
    if Verdict.LOST in (first, second):
        return Verdict.LOST
    return Verdict.WON if first is second is Verdict.WON else Verdict.PENDING


def _verdict_of(voters: Set[str], votes: Mapping[str, bool]) -> Verdict:
    needed = len(voters) // 2 + 1
    granted = sum(1 for voter in voters if votes.get(voter))
    if granted >= needed:
        return Verdict.WON
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    return Verdict.LOST if len(voters) - refused < needed else Verdict.PENDING


def majority_active(membership: Membership, active: Set[str]) -> bool:
    """Whether ``active`` holds a majority of the voters, and of the outgoing voters."""
    return verdict(membership, dict.fromkeys(active, True)) is Verdict.WON
