"""The state of a channel, from those of its backends (gRPC *load-balancing*, gRFC A42 for rings)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.client.connectivity import Connectivity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["aggregate", "aggregate_ring"]


def aggregate(counts: Mapping[Connectivity, int]) -> Connectivity:
    """Return the best of the states, of which ``counts`` says how many backends are in each; none is a failure."""
    for state in (Connectivity.READY, Connectivity.CONNECTING, Connectivity.IDLE):
        if counts.get(state):
            return state
    return Connectivity.TRANSIENT_FAILURE


def aggregate_ring(counts: Mapping[Connectivity, int]) -> Connectivity:
    """Return the state of a ring: two failures are one, because most keys would meet with it (gRFC A42)."""
    failing, connecting = counts.get(Connectivity.TRANSIENT_FAILURE, 0), counts.get(Connectivity.CONNECTING, 0)
    if counts.get(Connectivity.READY):
        return Connectivity.READY
    if failing >= 2:
        return Connectivity.TRANSIENT_FAILURE
    if connecting or (failing == 1 and sum(counts.values()) > 1):
        return Connectivity.CONNECTING
    return Connectivity.IDLE if counts.get(Connectivity.IDLE) else Connectivity.TRANSIENT_FAILURE
