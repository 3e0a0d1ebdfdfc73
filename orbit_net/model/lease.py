"""Rights that end by themselves: to host an actor, to be a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

    from orbit_net.model.node import NodeId
    from orbit_net.model.reference import AddressableReference

__all__ = ["AddressableLease", "NodeLease"]


@dataclass(frozen=True, slots=True)
class AddressableLease:
    """The right of one node to host one actor until ``expires_at``; it should be renewed from ``renew_at`` on.

    Both times are aware datetimes; ``renew_at`` is not after ``expires_at``. :class:`ConfigurationError` otherwise.
    """

    reference: AddressableReference
    node_id: NodeId
    expires_at: datetime
    renew_at: datetime

    def __post_init__(self) -> None:
        _check("AddressableLease", self.expires_at, self.renew_at)

    def is_expired(self, now: datetime) -> bool:
        """Whether the lease is void at ``now`` (aware)."""
        return now >= self.expires_at

    def should_renew(self, now: datetime) -> bool:
        """Whether it is time to ask for a new lease at ``now`` (aware)."""
        return now >= self.renew_at


@dataclass(frozen=True, slots=True)
class NodeLease:
    """The membership of a node until ``expires_at``; it should be renewed from ``renew_at`` on.

    ``challenge_token`` is the secret that renewing takes, or None; it is not shown by ``repr``. Times as in
    :class:`AddressableLease`.
    """

    node_id: NodeId
    expires_at: datetime
    renew_at: datetime
    challenge_token: str | None = None

    def __post_init__(self) -> None:
        _check("NodeLease", self.expires_at, self.renew_at)

    def is_expired(self, now: datetime) -> bool:
        """Whether the node is no member any more at ``now`` (aware)."""
        return now >= self.expires_at

    def should_renew(self, now: datetime) -> bool:
        """Whether it is time to renew the membership at ``now`` (aware)."""
        return now >= self.renew_at

    def __repr__(self) -> str:
        token = "None" if self.challenge_token is None else "…"
        times = f"expires_at={self.expires_at!r}, renew_at={self.renew_at!r}"
        return f"NodeLease(node_id={self.node_id!r}, {times}, challenge_token={token})"


def _check(name: str, expires_at: datetime, renew_at: datetime) -> None:
    for field, moment in (("expires_at", expires_at), ("renew_at", renew_at)):
        if moment.utcoffset() is None:
            raise ConfigurationError(f"{name}.{field} is {moment!r}; it must name its time zone")
    if renew_at > expires_at:
        raise ConfigurationError(f"{name}.renew_at is {renew_at}; it must not be after expires_at, {expires_at}")
