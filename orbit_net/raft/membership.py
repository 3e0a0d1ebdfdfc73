"""Who takes part in a cluster, and how that may change (Raft §6; Ongaro's thesis, chapter 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Membership"]


@dataclass(frozen=True, slots=True)
class Membership:
    """The members of a cluster at one place of its log.

    ``voters`` elect and commit. While ``outgoing`` is not empty the change is *joint*: a majority of ``voters`` and a
    majority of ``outgoing`` have to agree. ``learners`` receive the log and count for nothing;
    ``next_learners`` are voters still, and learners after the joint change. ``addresses`` are pairs
    of a member and where it is reached, for the transport; the core does not look at them.
    """

    voters: frozenset[str] = frozenset()
    learners: frozenset[str] = frozenset()
    outgoing: frozenset[str] = frozenset()
    next_learners: frozenset[str] = frozenset()
    addresses: tuple[tuple[str, str], ...] = ()
    members: frozenset[str] = field(init=False, repr=False, compare=False)
    """All of them."""

    def __post_init__(self) -> None:
        if self.learners & (self.voters | self.outgoing):
            both = sorted(self.learners & (self.voters | self.outgoing))
            raise ConfigurationError(f"{', '.join(both)} cannot be learner and voter at once")
        object.__setattr__(self, "members", self.voters | self.outgoing | self.learners)

    @classmethod
    def of(
        cls, voters: Iterable[str], learners: Iterable[str] = (), addresses: Mapping[str, str] | None = None
    ) -> Self:
        """Return a membership that is not joint."""
        return cls(frozenset(voters), frozenset(learners), addresses=tuple(sorted((addresses or {}).items())))

    @property
    def joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    def is_voter(self, node: str) -> bool:
        """Whether ``node`` has a vote in either half."""
        return node in self.voters or node in self.outgoing

    def towards(self, target: Membership) -> Membership:
        """Return the next step from here to ``target``: itself when one voter at the most differs, else joint.

        Any majority before and any majority after such a step share a member, so two leaders cannot be elected in one
        term (thesis §4.1 for one voter, Raft §6 for the joint step).
        """
        if len(self.voters ^ target.voters) <= 1:
            return target
        return Membership(
            target.voters,
            target.learners - self.voters,
            self.voters,
            target.learners & self.voters,
            target.addresses,
        )

    def with_learner(self, node: str, address: str) -> Membership:
        """Return a membership with one more learner."""
        return Membership.of(self.voters, self.learners | {node}, {**dict(self.addresses), node: address})

    def with_voter(self, node: str, address: str) -> Membership:
        """Return a membership with one more voter."""
        return Membership.of(self.voters | {node}, self.learners - {node}, {**dict(self.addresses), node: address})

    def without(self, node: str) -> Membership:
        """Return a membership with one member less."""
        addresses = {name: address for name, address in self.addresses if name != node}
        return Membership.of(self.voters - {node}, self.learners - {node}, addresses)

    def leave_joint(self) -> Membership:
        """Return the membership at the end of a joint change."""
        return Membership(self.voters, self.learners | self.next_learners, addresses=self.addresses)
