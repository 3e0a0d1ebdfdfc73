"""The policies of a balancer: each gives its pure decision what to decide over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orbit_net.client.balance.aggregate import aggregate, aggregate_ring
from orbit_net.client.balance.least_request import least_busy
from orbit_net.client.balance.ring import Ring
from orbit_net.client.balance.round_robin import Turns
from orbit_net.client.balance.settings import LeastRequest, OutlierDetection, PickFirst, RingHash, WeightedRoundRobin
from orbit_net.client.balance.shares import Shares, usable
from orbit_net.client.balance.xxhash import xxh64
from orbit_net.client.connectivity import Connectivity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from orbit_net.client.balance.backend import Backend
    from orbit_net.client.balance.settings import Balancing
    from orbit_net.client.line import Pending

__all__ = ["Policy", "policy_for"]

_NEAR = 64
"""Places that a key goes on from a host that has just failed, before the ring of those that have not is made anew."""


class Policy(Protocol):
    """Chooses among backends.

    ``name`` is that of the service config; ``lazy`` says that backends are connected when a call is for them, and not
    before; ``merged`` that all endpoints are one backend, with all their addresses.
    """

    name: str
    lazy: bool
    merged: bool

    def renew(self, backends: Sequence[Backend]) -> None:
        """Take other backends, in the order of the resolver."""

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        """Take notice which backends are READY; called before the first pick after a change."""

    def pick(self, call: Pending) -> Backend | None:
        """Return the backend for a call, or None when it has to wait for one."""

    def tick(self, now: float) -> None:
        """Look at what changes with time."""

    def aggregate(self, counts: Mapping[Connectivity, int]) -> Connectivity:
        """Return the state of all together."""


class _Plain:
    """What most policies have in common: they connect to all, and look only at those that are READY."""

    name = ""
    lazy = False
    merged = False

    def renew(self, backends: Sequence[Backend]) -> None:
        """Which backends there are does not matter before they are READY."""

    def tick(self, now: float) -> None:
        """Nothing changes with time."""

    def aggregate(self, counts: Mapping[Connectivity, int]) -> Connectivity:
        """Return the best state of all."""
        return aggregate(counts)


class _First(_Plain):
    name = "pick_first"
    lazy = True
    merged = True

    def __init__(self) -> None:
        self._backend: Backend | None = None

    def renew(self, backends: Sequence[Backend]) -> None:
        self._backend = backends[0] if backends else None

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        pass

    def pick(self, call: Pending) -> Backend | None:
        # Its subchannel knows what to do with a call while there is no connection.
        return self._backend


class _RoundRobin(_Plain):
    name = "round_robin"

    def __init__(self, random: Random) -> None:
        self._random = random
        self._turns: Turns[Backend] | None = None

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        self._turns = Turns(backends, self._random.randrange(len(backends))) if backends else None

    def pick(self, call: Pending) -> Backend | None:
        return None if self._turns is None else self._turns.pick()


class _Weighted(_Plain):
    """Weights of reports while there are two at least, else those of the resolver."""

    name = "weighted_round_robin"

    def __init__(self, settings: WeightedRoundRobin, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._ready: Sequence[Backend] = ()
        self._weights: list[float] = []
        self._shares: Shares[Backend] | None = None

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        self._ready = backends
        self._weights = []
        self._shares = None
        self.tick(now)

    def tick(self, now: float) -> None:
        settings = self._settings
        reported = [0.0 if one.reported is None else one.reported.now(now, settings) for one in self._ready]
        weights = usable(reported) or [one.endpoint.weight for one in self._ready]
        if weights != self._weights:
            self._weights = weights
            self._shares = Shares(self._ready, weights, self._random) if weights else None

    def pick(self, call: Pending) -> Backend | None:
        return None if self._shares is None else self._shares.pick()


class _LeastRequest(_Plain):
    name = "least_request"

    def __init__(self, settings: LeastRequest, random: Random) -> None:
        self._choices = settings.choices
        self._random = random
        self._ready: Sequence[Backend] = ()

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        self._ready = backends

    def pick(self, call: Pending) -> Backend | None:
        return least_busy(self._ready, self._random, self._choices) if self._ready else None


class _RingHash(_Plain):
    name = "ring_hash"
    lazy = True

    def __init__(self, settings: RingHash, random: Random) -> None:
        self._settings = settings
        self._header = None if settings.header is None else settings.header.encode()
        self._random = random
        self._backends: Sequence[Backend] = ()
        self._ring: Ring | None = None
        self._live: Ring | None = None

    def renew(self, backends: Sequence[Backend]) -> None:
        settings = self._settings
        # In an order of their own, lest two clients that list them differently have two rings.
        self._backends = sorted(backends, key=_place)
        hosts = [(_place(backend), backend.endpoint.weight) for backend in self._backends]
        smallest, largest, places = settings.min_ring_size, settings.max_ring_size, settings.places
        self._ring = Ring.of(hosts, smallest=smallest, largest=largest, places=places) if hosts else None
        self._live = None

    def ready(self, backends: Sequence[Backend], now: float) -> None:
        # Keys go past hosts that fail, but not past one that may yet be connected (gRFC A42, "Picker Behavior"). They
        # need not walk there: when most of many hosts fail, that would be long.
        failing = Connectivity.TRANSIENT_FAILURE
        live = {number for number, backend in enumerate(self._backends) if backend.state is not failing}
        ring = self._ring
        self._live = ring if ring is None or len(live) == len(self._backends) else ring.only(live)

    def pick(self, call: Pending) -> Backend | None:
        live = self._live
        if not live:
            return None
        value = self._hash(call)
        backend = self._backends[live.find(value)]
        if backend.state is Connectivity.READY:
            return backend
        if backend.state is Connectivity.TRANSIENT_FAILURE:  # only just: the ring of the others is older
            near = map(self._backends.__getitem__, live.following(value, _NEAR))
            backend = next((one for one in near if one.state is not Connectivity.TRANSIENT_FAILURE), backend)
        return backend if _may_wait(backend) or backend.state is Connectivity.READY else None

    def _hash(self, call: Pending) -> int:
        if call.hash_key is not None:
            return xxh64(call.hash_key)
        if self._header is not None:
            values = [value for name, value in call.fields if name == self._header]
            if values:
                return xxh64(b",".join(values))
        return self._random.getrandbits(64)

    def aggregate(self, counts: Mapping[Connectivity, int]) -> Connectivity:
        """Return the state of the ring, of which two failures are one."""
        return aggregate_ring(counts)


def _may_wait(backend: Backend) -> bool:
    """Whether a call may wait in the row of a server: not if that is connected and has not said how it is."""
    return backend.state is not Connectivity.TRANSIENT_FAILURE and backend.subchannel.state is not Connectivity.READY


def _place(backend: Backend) -> str:
    return backend.endpoint.hash_key or backend.name


def policy_for(balancing: Balancing, random: Random) -> Policy:
    """Return what chooses as ``balancing`` says; of an OutlierDetection, its child."""
    match balancing:
        case OutlierDetection():
            return policy_for(balancing.child, random)
        case PickFirst():
            return _First()
        case WeightedRoundRobin():
            return _Weighted(balancing, random)
        case LeastRequest():
            return _LeastRequest(balancing, random)
        case RingHash():
            return _RingHash(balancing, random)
        case _:
            return _RoundRobin(random)
