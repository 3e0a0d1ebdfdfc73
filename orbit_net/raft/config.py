"""The settings of the core, in ticks and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_net.errors import ConfigurationError

__all__ = ["CoreConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """Times in ticks, sizes in bytes.

    A follower that hears no leader for ``election_ticks`` and a random part of ``election_spread`` stands for
    election; 15 and 15, and a heartbeat every 5, are the 150–300 ms and 50 ms of the paper (§9.3) at 10 ms a tick.
    ``max_entries`` and ``max_bytes`` bound one append: small enough that a heartbeat does not wait behind it.
    ``max_inflight`` appends to a member may be unanswered, which hides the round trip. ``max_uncommitted`` is how much
    the leader accepts before it is committed: beyond it proposals are refused instead of queued.

    ``pre_vote`` (thesis §9.6) keeps a node that was cut off from raising the term; ``check_quorum`` (§6.2) makes a
    leader that was cut off step down. ``lease_reads`` answers reads from the leader's lease without a round of
    heartbeats (§6.4.1); it needs ``check_quorum`` and clocks that tick at nearly the same rate, so it is off.
    """

    election_ticks: int = 15
    election_spread: int = 15
    heartbeat_ticks: int = 5
    max_entries: int = 100
    max_bytes: int = 1_048_576
    max_inflight: int = 64
    max_uncommitted: int = 16_777_216
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False

    def __post_init__(self) -> None:
        for name in (
            "election_spread",
            "heartbeat_ticks",
            "max_entries",
            "max_bytes",
            "max_inflight",
            "max_uncommitted",
        ):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be at least 1")
        if self.election_ticks <= self.heartbeat_ticks:
            raise ConfigurationError(
                f"election_ticks is {self.election_ticks!r}; it must be above heartbeat_ticks, {self.heartbeat_ticks!r}"
            )
        if self.lease_reads and not self.check_quorum:
            raise ConfigurationError("lease_reads needs check_quorum: without it nobody respects the lease")
