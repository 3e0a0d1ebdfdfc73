"""Puts each call of a channel on one of many connections.

    resolver ──endpoints──▶ backends ──READY──▶ policy ──pick──▶ subchannel ──▶ stream

A call without a backend waits here, in order, or is refused when all backends fail. A call whose backend has no free
stream waits there, and comes back when that backend is lost. Nothing here waits: everything is decided in the task of
whoever brings the call or the news, and tasks of their own keep the time, ask the resolver, and ask servers for their
health and load.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from orbit_net.client.balance.attending import attend
from orbit_net.client.balance.backends import Backends
from orbit_net.client.balance.outlier import Outliers
from orbit_net.client.balance.policies import policy_for
from orbit_net.client.balance.row import Rows, elsewhere
from orbit_net.client.balance.settings import OutlierDetection, PickFirst, WeightedRoundRobin
from orbit_net.client.balance.subchannel_pool import SubchannelPool
from orbit_net.client.balance.timekeeper import Timekeeper
from orbit_net.client.balance.waitlist import Waitlist
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.resolve.resolving import Resolving
from orbit_net.context import inherited_deadline
from orbit_net.errors import ConfigurationError, ConnectError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from anyio.abc import TaskGroup

    from orbit_net.client.balance.backend import Backend
    from orbit_net.client.balance.owner import BalancerOwner
    from orbit_net.client.balance.policies import Policy
    from orbit_net.client.balance.settings import Balancing
    from orbit_net.client.connecting import Connecting
    from orbit_net.client.line import Pending
    from orbit_net.client.resolve.resolution import Resolution, ResolvedEndpoint, Resolver
    from orbit_net.client.resolve.schedule import ResolveSettings
    from orbit_net.client.settings import ChannelSettings
    from orbit_net.client.subchannel import Subchannel
    from orbit_net.errors import OrbitError

__all__ = ["Balancer"]

_FEW = 256
"""Backends of which a policy is told at each change."""
_RENEWAL = 1e-5
"""Seconds for each further one between two such reports: ten times what they cost."""


class Balancer:
    """The :class:`~orbit_net.client.subchannel.Line` of a channel that has more than one address.

    The resolver is asked at the first call, or by :meth:`connect`. ``error`` says why the resolver had no answer.
    """

    def __init__(
        self,
        owner: BalancerOwner,
        resolver: Resolver,
        connecting: Connecting,
        settings: ChannelSettings,
        *,
        resolve: ResolveSettings,
        pool: SubchannelPool | None,
        random: Random,
    ) -> None:
        self.state = Connectivity.IDLE
        self.error: OrbitError | None = None
        self.plan = owner.planned(None)
        self.policy: Policy = policy_for(self.plan.balancing, random)
        self.outliers: Outliers[Backend] | None = None
        self._owner = owner
        self._settings = settings
        self._random = random
        self._private = pool is None
        self._pool = SubchannelPool() if pool is None else pool
        self.backends = Backends(connecting, settings, random, self._pool, self)
        self._resolving = Resolving(resolver, resolve, owner.target, random, self)
        self._rows = Rows(self)
        self._waiting = Waitlist(self)
        self._resting: set[Backend] = set()
        self._stale = True
        self._renew_at = -math.inf
        self._failed = False
        self._begun = False
        self._tasks: TaskGroup | None = None
        self._scope: anyio.CancelScope | None = None
        self._timekeeper = Timekeeper(lambda: dict(self._periods()))

    # --- life ------------------------------------------------------------------------------------

    def start(self, tasks: TaskGroup) -> None:
        """Name the task group that everything runs in; nobody is asked for anything yet."""
        self._tasks = tasks
        if self._private:
            self._pool.attach(tasks)
        tasks.start_soon(self._run)

    async def _run(self) -> None:
        inherited_deadline.set(None)
        if self.state is Connectivity.SHUTDOWN:
            return
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._resolving.run)
                tasks.start_soon(self._timekeeper.run)

    def connect(self) -> None:
        """Ask the resolver, if nobody has, and connect what has gone to rest."""
        if self.state is Connectivity.SHUTDOWN:
            return
        if not self._begun:
            self._begun = True
            self._resolving.want()
        self._wake()
        if self.policy.lazy:
            for backend in list(self.backends)[:1]:
                backend.subchannel.connect()
        self._judge()

    def close(self) -> None:
        """Refuse what waits, fail what is open; connections of a shared pool go on while others use them."""
        if self.state is Connectivity.SHUTDOWN:
            return
        self.state = Connectivity.SHUTDOWN
        if self._scope is not None:
            self._scope.cancel()
        waiting = self._waiting.drain()
        for backend in list(self.backends):
            self._let_go(backend)
            waiting += self._rows.recall(backend)
        if self._private:
            self._pool.close()
        for call in waiting:
            call.refuse(NetworkError("the channel is closed"))
        self._owner.line_changed(self)

    async def wait_idle(self) -> None:
        """Wait until no connection of our own is open or ending."""
        if self._private:
            await self._pool.wait_idle()

    @property
    def subchannels(self) -> tuple[Subchannel, ...]:
        """The connections, in the order of the resolver."""
        return tuple(backend.subchannel for backend in self.backends)

    @property
    def trouble(self) -> OrbitError | None:
        """Why no backend can be picked; None while one is READY, or nothing was heard of the resolver."""
        return self.backends.why if len(self.backends) else self.error

    @property
    def capacity(self) -> int | None:
        """How many calls all connected servers take at a time; None without one."""
        known = [one.capacity for one in self.subchannels]
        return sum(capacity for capacity in known if capacity is not None) if any(known) else None

    # --- calls -----------------------------------------------------------------------------------

    def submit(self, call: Pending) -> None:
        """Give ``call`` a stream now, or as soon as there is one, or refuse it."""
        if self._resting:
            self._wake()
        backend = self.choose(call)
        if backend is None:
            self._delay(call)
        else:
            self._rows.hand(call, elsewhere(call, backend, self) if call.tried and not self.lazy else backend)

    def choose(self, call: Pending) -> Backend | None:
        """Return the backend for a call, or None when it has to wait."""
        if self._failed:
            return None
        policy = self.policy
        if self._stale and anyio.current_time() >= self._renew_at:
            self._renew()
        backend = policy.pick(call)
        if self._stale and (backend is None or not (policy.lazy or backend.state is Connectivity.READY)):
            self._renew()
            backend = policy.pick(call)
        return backend

    def _renew(self) -> None:
        """Tell the policy who is READY. Of many not after each change: while thousands connect, some may be added late.

        One that is lost is noticed when it is picked.
        """
        now, ready = anyio.current_time(), self.backends.ready
        self._stale = False
        self._renew_at = now + max(0, len(self.backends) - _FEW) * _RENEWAL
        self.policy.ready(ready, now)

    def _delay(self, call: Pending) -> None:
        if self._tasks is None:
            raise ConfigurationError("the channel is not open: use it inside 'async with Channel(...) as channel'")
        if self.state is Connectivity.SHUTDOWN:
            call.refuse(NetworkError("the channel is closed"))
            return
        if not self._begun:
            self.connect()
        error = None if call.wait_for_ready else self.refusal()
        if error is not None:
            call.refuse(error)
        else:
            self._waiting.add(call)

    def withdraw(self, call: Pending) -> None:
        """Take a waiting call out; no effect when it does not wait."""
        self._waiting.withdraw(call)
        self._rows.withdraw(call)

    def refused(self, call: Pending, error: OrbitError) -> None:
        """The only backend has no connection: neither has the channel."""
        call.refuse(error)

    @property
    def lazy(self) -> bool:
        """Whether a call may get a backend where another one has to wait."""
        return self.policy.lazy

    def hand(self, call: Pending, backend: Backend) -> None:
        """Give a call to a backend."""
        self._rows.hand(call, backend)

    def refusal(self) -> OrbitError | None:
        """Return why calls that may not wait are refused; None while they may."""
        return self.trouble if self._failed or not len(self.backends) else None

    # --- news of backends ------------------------------------------------------------------------

    def moved(self, backend: Backend) -> None:
        """The connection of a backend has another state."""
        state, merged = backend.subchannel.state, self.policy.merged
        if state is Connectivity.READY:
            self._attend(backend)
        elif backend.scope is not None:
            backend.scope.cancel()
            backend.scope = None
        backend.look()
        if state in (Connectivity.IDLE, Connectivity.TRANSIENT_FAILURE) and not backend.subchannel.rested:
            self._resolving.want()
        if state is Connectivity.IDLE and (backend.failing or not self.policy.lazy):
            if backend.subchannel.rested:
                self._resting.add(backend)
            else:
                backend.subchannel.connect()
        # A failed one refuses what waits there; one that is being connected is worth waiting for.
        if state in (Connectivity.IDLE, Connectivity.SHUTDOWN) and not merged:
            for call in self._rows.recall(backend):
                self.submit(call)

    def changed(self, backend: Backend, before: Connectivity) -> None:
        """A backend has another state than before."""
        if backend in self.backends:
            self.backends.changed(backend, before)
            self._stale = True
            self._judge()
            if len(self._waiting) and backend.state is not Connectivity.CONNECTING:
                self._waiting.serve()

    def _wake(self) -> None:
        """Connect again what had no calls for a while: now there are some."""
        resting, self._resting = self._resting, set()
        for backend in resting:
            if backend in self.backends:
                backend.subchannel.connect()

    def _attend(self, backend: Backend) -> None:
        """Ask a server that was connected for what is wanted of it."""
        assert self._tasks is not None
        if backend.reported is not None:
            backend.reported.restart()
        load = backend.metrics if backend.metrics is not None and backend.metrics.out_of_band else None
        service = None if self.policy.merged else self.plan.health_check
        backend.healthy = None if service is not None else True
        if service is not None or load is not None:
            backend.scope = anyio.CancelScope()
            channel, backoff = self._owner.aside(backend.subchannel), self._settings.backoff
            self._tasks.start_soon(attend, backend, channel, service, load, backoff, self._random)

    def _let_go(self, backend: Backend) -> None:
        if backend.scope is not None:
            backend.scope.cancel()
            backend.scope = None
        self._resting.discard(backend)
        self.backends.give_back(backend)

    def _judge(self) -> None:
        """Find out the state of all together."""
        if self.state is Connectivity.SHUTDOWN:
            return
        self._failed = self.backends.failed and not self.policy.merged
        if len(self.backends):
            state = self.policy.aggregate(self.backends.counts)
        elif self.error is not None:
            state = Connectivity.TRANSIENT_FAILURE
        else:
            state = Connectivity.CONNECTING if self._begun else Connectivity.IDLE
        if state is not self.state:
            self.state = state
            self._owner.line_changed(self)

    # --- news of the resolver --------------------------------------------------------------------

    def unresolved(self, error: OrbitError) -> None:
        """Go on with what is known; without anything, calls fail."""
        self.error = error
        self._judge()
        self._waiting.serve()

    def resolved(self, resolution: Resolution) -> None:
        """Take other endpoints, and another service config if there is one."""
        if self.state is Connectivity.SHUTDOWN:
            return
        plan = self._owner.planned(resolution.service_config)
        dropped: list[Backend] = []
        if plan != self.plan:
            dropped = self.backends.renew(())
            self.plan, self.policy = plan, policy_for(plan.balancing, self._random)
            self.outliers = None
        self.error = None if resolution.endpoints else ConnectError(f"{self._owner.target} has no address")
        self._take(resolution.endpoints, dropped)
        if self.error is not None:
            raise self.error

    def _take(self, endpoints: Sequence[ResolvedEndpoint], dropped: list[Backend]) -> None:
        policy, backends, balancing = self.policy, self.backends, self.plan.balancing
        self._rows.final = policy.merged
        if policy.merged and endpoints:
            assert isinstance(balancing, (PickFirst, OutlierDetection))
            first = balancing.child if isinstance(balancing, OutlierDetection) else balancing
            assert isinstance(first, PickFirst)
            endpoints = list(endpoints)
            if first.shuffle:
                self._random.shuffle(endpoints)
            dropped += backends.merge(endpoints, name=self._owner.target, attempt_delay=first.attempt_delay)
        else:
            dropped += backends.renew(endpoints)
        self._equip(balancing)
        policy.renew(list(backends))
        self._stale = True
        calls = [call for backend in dropped for call in self._rows.recall(backend)]
        for backend in dropped:
            self._let_go(backend)
        for backend in backends:
            if backend.state is Connectivity.IDLE and backend.subchannel.state is Connectivity.READY:
                self._attend(backend)  # another channel, or another policy, has connected it
            backend.look()
            if not policy.lazy:
                backend.subchannel.connect()
        self._judge()
        for call in calls:
            self.submit(call)
        self._waiting.serve()

    def _equip(self, balancing: Balancing) -> None:
        """Give backends what the policy wants to know of them."""
        if isinstance(balancing, OutlierDetection):
            if self.outliers is None and not self.policy.merged:
                self.outliers = Outliers(balancing)
            balancing = balancing.child
        weighted = balancing if isinstance(balancing, WeightedRoundRobin) and balancing.reports else None
        self.backends.equip(weighted, self.outliers)
        self._timekeeper.reset()

    # --- time ------------------------------------------------------------------------------------

    def _periods(self) -> Iterator[tuple[Callable[[float], None], float]]:
        """Give what is to be done now and then, and how often."""
        balancing = self.plan.balancing
        if isinstance(balancing, OutlierDetection):
            if not self.policy.merged:
                yield self._sweep, balancing.interval
            balancing = balancing.child
        if isinstance(balancing, WeightedRoundRobin) and balancing.reports:
            yield self.policy.tick, balancing.update_period

    def _sweep(self, now: float) -> None:
        if self.outliers is None:
            return
        for backend in self.outliers.sweep(now, self._random):
            backend.ejected = self.outliers.is_ejected(backend)
            backend.look()

    def __repr__(self) -> str:
        ready = self.backends.counts.get(Connectivity.READY, 0)
        told = [f"{self.policy.name} {self.state.value}", f"{ready} of {len(self.backends)} ready"]
        told.append(f"{len(self._waiting) + len(self._rows)} waiting")
        if self.error is not None:
            told.append(str(self.error))
        return f"<Balancer {', '.join(told)}{self.backends!r}>"
