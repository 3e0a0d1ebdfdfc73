"""The backends of a balancer: one for each endpoint, kept over updates of the resolver."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from orbit_net.client.balance.backend import Backend
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.resolve.resolution import ResolvedEndpoint
from orbit_net.client.subchannel import Subchannel
from orbit_net.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from random import Random

    from orbit_net.client.balance.backend import Owner
    from orbit_net.client.balance.outlier import Outliers
    from orbit_net.client.balance.settings import WeightedRoundRobin
    from orbit_net.client.balance.subchannel_pool import SubchannelPool
    from orbit_net.client.connecting import Connecting
    from orbit_net.client.dialing import Way
    from orbit_net.client.settings import ChannelSettings

__all__ = ["Backends"]

_REASONS = 3
"""Backends that an error speaks of."""
_SHOWN = 16
"""Backends that a text shows one by one."""


class Backends:
    """The backends by what they connect to, in the order of the resolver, and how many are in each state.

    When they are ``merged``, all endpoints together are the one backend, whose connection goes to the first address
    that answers.
    """

    def __init__(
        self, connecting: Connecting, settings: ChannelSettings, random: Random, pool: SubchannelPool, owner: Owner
    ) -> None:
        self.counts: dict[Connectivity, int] = {}
        self._by_key: dict[Hashable, Backend] = {}
        self._connecting = connecting
        self._settings = settings
        self._random = random
        self._pool = pool
        self._owner = owner
        self._merged: Sequence[ResolvedEndpoint] = ()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._by_key.values())

    def __contains__(self, backend: Backend) -> bool:
        return self._by_key.get(backend.key) is backend

    @property
    def failed(self) -> bool:
        """Whether none of them may yet take a call."""
        return self.counts.get(Connectivity.TRANSIENT_FAILURE, 0) == len(self._by_key)

    @property
    def ready(self) -> list[Backend]:
        """Those that can be picked."""
        return [backend for backend in self if backend.state is Connectivity.READY]

    def renew(self, endpoints: Sequence[ResolvedEndpoint]) -> list[Backend]:
        """Have a backend for each endpoint; return those that are no longer there, to be given back."""
        make = self._subchannel
        return self._keep({self._connecting.key(one): (one, partial(make, one)) for one in endpoints})

    def merge(self, endpoints: Sequence[ResolvedEndpoint], *, name: str, attempt_delay: float) -> list[Backend]:
        """Have one backend for all endpoints, called ``name``; a connection stays if its address is among them."""
        self._merged = endpoints
        names = {str(address): address for endpoint in endpoints for address in endpoint.addresses}
        whole = ResolvedEndpoint(addresses=tuple(names.values()))
        key = ("merged", id(self))
        dropped = self._keep({key: (whole, partial(self._racing, name, attempt_delay))})
        subchannel = self._by_key[key].subchannel
        if subchannel.way is not None and subchannel.way not in names:
            subchannel.leave()
        return dropped

    def _keep(self, wanted: dict[Hashable, tuple[ResolvedEndpoint, Callable[[], Subchannel]]]) -> list[Backend]:
        old, self._by_key = self._by_key, {}
        for key, (endpoint, make) in wanted.items():
            backend = old.pop(key, None)
            if backend is None:
                backend = Backend(key, endpoint, self._owner)
                backend.subchannel = self._pool.take(key, make, backend.moved)
            backend.endpoint = endpoint
            self._by_key[key] = backend
        self.count()
        return list(old.values())

    def _racing(self, name: str, attempt_delay: float) -> Subchannel:
        async def ways() -> list[Way]:
            return [way for endpoint in self._merged for way in self._connecting.ways(endpoint)]

        return Subchannel(
            name=name, settings=self._settings, random=self._random, ways=ways, attempt_delay=attempt_delay
        )

    def _subchannel(self, endpoint: ResolvedEndpoint) -> Subchannel:
        async def ways() -> list[Way]:
            return self._connecting.ways(endpoint)

        several = len(endpoint.addresses) > 1
        connector = None if several else self._connecting.connector(endpoint.addresses[0], endpoint.server_name)
        return Subchannel(
            connector,
            name=endpoint.name,
            settings=self._settings,
            random=self._random,
            ways=ways if several else None,
        )

    def give_back(self, backend: Backend) -> None:
        """Let go of the connection of a backend that is no longer there."""
        self._pool.give_back(backend.key, backend.moved)

    def count(self) -> None:
        """Count the states anew."""
        self.counts = {}
        for backend in self:
            self.counts[backend.state] = self.counts.get(backend.state, 0) + 1

    def changed(self, backend: Backend, before: Connectivity) -> None:
        """Take notice that a backend has another state."""
        self.counts[before] = self.counts.get(before, 0) - 1
        self.counts[backend.state] = self.counts.get(backend.state, 0) + 1

    def equip(self, metrics: WeightedRoundRobin | None, outliers: Outliers[Backend] | None) -> None:
        """Have reports in trailers read as ``metrics`` says, and calls counted for ``outliers``; None: not."""
        if outliers is not None:
            outliers.keep(self)
        for backend in self:
            backend.metrics = metrics
            backend.record = None if outliers is None else outliers.records[backend]

    @property
    def why(self) -> ConnectError | None:
        """Why none of them can be picked, with the reasons of the first ones; None while one can."""
        if self.counts.get(Connectivity.READY):
            return None
        reasons = dict.fromkeys(backend.why for backend in islice(self, _REASONS))
        more = ", …" if len(self) > _REASONS else ""
        return ConnectError(f"none of {len(self)} backends is ready: {'; '.join(reasons)}{more}")

    def __repr__(self) -> str:
        shown = "".join(f" [{backend!r}]" for backend in islice(self, _SHOWN))
        return f"{shown} and {len(self) - _SHOWN} more" if len(self) > _SHOWN else shown
