"""The settings of a node, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orbit_net.errors import ConfigurationError
from orbit_net.raft.config import CoreConfig

__all__ = ["RaftConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Times in seconds.

    ``election_timeout`` is the range of the random time after which a silent leader is taken for lost; the paper's
    150 to 300 ms (§9.3) suit nodes in one place. ``heartbeat_interval`` leaves room for two lost heartbeats. ``tick``
    is the grain of both. After ``snapshot_threshold`` applied entries the log is compacted; half as many stay, so that
    a member that is a little behind needs no snapshot. ``proposal_timeout`` bounds a proposal or a read whose caller
    gives no time. ``core`` holds what has nothing to do with time.
    """

    election_timeout: tuple[float, float] = (0.15, 0.3)
    heartbeat_interval: float = 0.05
    tick: float = 0.01
    snapshot_threshold: int = 1_000
    proposal_timeout: float = 5.0
    core: CoreConfig = field(default_factory=CoreConfig)

    def __post_init__(self) -> None:
        low, high = self.election_timeout
        if not 0 < self.tick <= self.heartbeat_interval < low < high:
            raise ConfigurationError(
                f"tick {self.tick:g}, heartbeat_interval {self.heartbeat_interval:g} and election_timeout "
                f"{low:g}–{high:g} have to rise in this order"
            )
        if self.snapshot_threshold < 1:
            raise ConfigurationError(f"snapshot_threshold is {self.snapshot_threshold!r}; it must be at least 1")
        if self.proposal_timeout <= 0:
            raise ConfigurationError(f"proposal_timeout is {self.proposal_timeout!r}; it must be above 0 seconds")
        self.in_ticks()

    def in_ticks(self) -> CoreConfig:
        """Return the settings of the core; checks them."""
        low, high = self.election_timeout
        return replace(
            self.core,
            election_ticks=round(low / self.tick),
            election_spread=max(1, round((high - low) / self.tick)),
            heartbeat_ticks=max(1, round(self.heartbeat_interval / self.tick)),
        )
