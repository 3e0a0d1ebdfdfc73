"""One endpoint of a pool: its connections, its circuit breaker and its counts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from orbit_net.client.channel import Channel
from orbit_net.client.pool.breaker import CircuitBreaker
from orbit_net.client.pool.plan import Standing, plan
from orbit_net.client.pool.stats import ConnectionStats, EndpointStats, Tally
from orbit_net.client.pool.transport import seconds_of
from orbit_net.net import Failure
from orbit_net.status import Status

if TYPE_CHECKING:
    from grpclib.const import Cardinality
    from grpclib.metadata import Deadline

    from orbit_net.client.call import ClientStream
    from orbit_net.client.pool.connection_pool import ConnectionPool
    from orbit_net.wire.metadata import MetadataLike

__all__ = ["Endpoint", "Member", "PooledConnection"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_UNKNOWN_CAPACITY: Final = 100
"""How many calls a server is assumed to take at a time until it has said so, as clients of gRPC do."""
_UNANSWERED: Final = frozenset({Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED})
"""What opens a circuit. Any other status is an answer, and the endpoint is well."""
MAX_AGE: Final = 3_600.0
"""Seconds after which a connection takes no more calls: a name may mean another machine by then."""


class Member:
    """One connection of an endpoint: a channel that runs in the pool's task group, and its calls."""

    __slots__ = ("active", "channel", "created", "scope", "tally")

    def __init__(self, channel: Channel, now: float) -> None:
        self.channel = channel
        self.created = now
        self.tally = Tally(now)
        self.active = 0
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        """Run what the channel does in the background until the member is closed."""
        with self.scope:
            await self.channel.run()

    def standing(self) -> Standing:
        """Return what the pool decides by."""
        capacity = self.channel.line.capacity
        capacity = _UNKNOWN_CAPACITY if capacity is None else capacity
        return Standing(self.active, capacity, self.created, self.tally.last_used)

    def close(self) -> None:
        """End the connection."""
        self.channel.close()
        self.scope.cancel()

    def stats(self) -> ConnectionStats:
        """Return the counts of this moment."""
        tally = self.tally
        return ConnectionStats(
            self.created, tally.last_used, self.active, tally.requests, tally.errors, tally.latency * 1_000
        )


class Endpoint:
    """The connections to one endpoint. ``members`` are in the order of their opening."""

    def __init__(self, pool: ConnectionPool, name: str) -> None:
        self.pool = pool
        self.name = name
        self.members: list[Member] = []
        self.tally = Tally(pool.clock())
        self.breaker = None if pool.breaker is None else CircuitBreaker(pool.breaker)
        self.connection = PooledConnection(pool, name)

    def ready(self) -> None:
        """Have at least one connection; opening it is left to the first call."""
        if not self.members:
            self._open()

    def take(self) -> Member:
        """Return the connection for one more call, after opening and closing what the plan says."""
        decided = self._plan(call=True)
        assert decided is not None
        return decided

    def clean_up(self, max_idle: float) -> int:
        """Close what is idle or old; return how many connections that were."""
        before = len(self.members)
        self._plan(max_idle=max_idle)
        return before - len(self.members)

    def _plan(self, *, max_idle: float | None = None, call: bool = False) -> Member | None:
        members = self.members
        decided = plan(
            [member.standing() for member in members],
            self.pool.clock(),
            limit=self.pool.config.max_connections_per_endpoint,
            max_age=MAX_AGE,
            max_idle=max_idle,
            call=call,
        )
        chosen = None
        if decided.use is not None:
            chosen = members[decided.use] if decided.use < len(members) else self._open()
        for number in reversed(decided.close):
            members.pop(number).close()
        return chosen

    def _open(self) -> Member:
        pool = self.pool
        assert pool.tasks is not None
        connector = None if pool.connector is None else partial(pool.connector, self.name)
        channel = Channel(
            self.name,
            codec=pool.codec,
            settings=pool.config.channel_settings(),
            tls=pool.tls,
            proxy=pool.proxy,
            service_config=pool.config.service_config(timeout=False),
            connector=connector,
            random=pool.random,
        )
        channel.attach(pool.tasks)
        member = Member(channel, pool.clock())
        self.members.append(member)
        pool.tasks.start_soon(member.run)
        return member

    def forgettable(self, max_age: float) -> bool:
        """Whether nothing here is of use any more."""
        return not self.members and self.pool.clock() - self.tally.last_used >= max_age

    async def close(self) -> None:
        """End all connections and wait for that."""
        for member in self.members:
            member.channel.close()
        for member in self.members:
            await member.channel.line.wait_idle()

    def stats(self) -> EndpointStats:
        """Return the counts of this moment."""
        tally, breaker = self.tally, self.breaker
        return EndpointStats(
            total_requests=tally.requests,
            total_errors=tally.errors,
            average_latency_ms=tally.latency * 1_000,
            connections=tuple(member.stats() for member in self.members),
            breaker=None if breaker is None else breaker.state,
        )

    def __repr__(self) -> str:
        busy = sum(member.active > 0 for member in self.members)
        return f"<Endpoint {self.name} [Connections: {busy} busy, {len(self.members) - busy} idle], {self.breaker!r}>"


class _Use:
    """One call of a pool, watched from its beginning to its end."""

    __slots__ = ("_began", "_endpoint", "_member", "_streaming", "_ticket")

    def __init__(self, endpoint: Endpoint, member: Member, *, streaming: bool) -> None:
        self._endpoint = endpoint
        self._member = member
        self._streaming = streaming
        self._began: float | None = None
        self._ticket: int | None = None

    def begun(self) -> Failure | None:
        """Count the call, or refuse it because the circuit is open."""
        endpoint = self._endpoint
        now = endpoint.pool.clock()
        if endpoint.breaker is not None:
            self._ticket = endpoint.breaker.begin(now)
            if self._ticket is None:
                return Failure(Status.UNAVAILABLE, f"the circuit to {endpoint.name} is open after repeated failures")
        self._began = now
        self._member.active += 1
        for tally in (self._member.tally, endpoint.tally, endpoint.pool.tally):
            tally.begun(now)
        return None

    def ended(self, status: Status | None) -> None:
        """Count how the call ended; None or CANCELLED when its caller left early, which is nobody's error."""
        if self._began is None:
            return
        endpoint, member = self._endpoint, self._member
        now = endpoint.pool.clock()
        member.active -= 1
        left = status is None or status is Status.CANCELLED
        seconds = None if left or self._streaming else now - self._began
        for tally in (member.tally, endpoint.tally, endpoint.pool.tally):
            tally.ended(now, error=not left and status is not Status.OK, seconds=seconds)
        if endpoint.breaker is not None and self._ticket is not None:
            if left:
                endpoint.breaker.abandoned(self._ticket)
            elif status in _UNANSWERED:
                endpoint.breaker.failed(self._ticket, now)
            else:
                endpoint.breaker.succeeded(self._ticket)


class PooledConnection:
    """What a pool gives for an endpoint: made for stubs, which use it as they use a channel."""

    def __init__(self, pool: ConnectionPool, endpoint: str) -> None:
        self._pool = pool
        self.target = endpoint

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Request],
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        **options: Any,
    ) -> ClientStream[Request, Reply]:
        """Return a call, as :meth:`Channel.request <orbit_net.client.Channel.request>` does, on a connection with room.

        A call with one reply ends by the pool's ``request_timeout`` at the latest. While the circuit of the endpoint
        is open it fails with UNAVAILABLE as soon as it begins. Raises :class:`NetworkError` when the pool is closed.
        """
        endpoint = self._pool.endpoint(self.target)
        member = endpoint.take()
        _, streaming = cardinality.value
        if not streaming:
            limit = seconds_of(self._pool.config.request_timeout)
            timeout = limit if timeout is None else min(timeout, limit)
        return member.channel.request(
            name,
            cardinality,
            request_type,
            reply_type,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
            watcher=_Use(endpoint, member, streaming=streaming),
            **options,
        )

    def __repr__(self) -> str:
        return f"<PooledConnection {self.target} of {self._pool!r}>"
