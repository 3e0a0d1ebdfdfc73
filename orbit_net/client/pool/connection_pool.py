"""A pool of connections to many endpoints, each with as many connections as its calls need."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.lowlevel

from orbit_net.client.pool.breaker import BreakerPolicy
from orbit_net.client.pool.endpoint import MAX_AGE, Endpoint, PooledConnection
from orbit_net.client.pool.stats import PoolStats, Tally
from orbit_net.client.pool.transport import TransportConfig
from orbit_net.client.resolve import resolver_for
from orbit_net.errors import ConfigurationError, ConnectError, NetworkError
from orbit_net.net import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta
    from random import Random
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.client.channel import Channel
    from orbit_net.codec import AnyCodec
    from orbit_net.net import TlsConfig

__all__ = ["ConnectionPool"]


CLEANUP_INTERVAL: Final = 300.0
"""Seconds between two cleanups in the background."""
MAX_IDLE: Final = 600.0
"""Seconds without calls after which the cleanup in the background closes a connection."""

_CLOSE_GRACE: Final = 2.0

_log = logging.getLogger("orbit_net.client.pool.connection_pool")


class ConnectionPool:
    """Connections to endpoints, made when calls need them and kept while they do.

    ``breaker`` is the policy of the circuit breaker of each endpoint, None for none. ``codec``, ``tls`` and ``proxy``
    are for all channels; ``connector`` replaces the socket by a byte stream for an endpoint; ``random`` varies delays,
    and ``clock`` gives the time in seconds. Using it needs ``async with``; leaving the block closes all connections.

    Example::

        async with ConnectionPool(TransportConfig(max_connections_per_endpoint=4)) as pool:
            connection = await pool.get_connection("http://node1:50051")
            reply = await GreeterStub(connection).say(Hello(name="Ada"))
    """

    def __init__(
        self,
        config: TransportConfig | None = None,
        *,
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - frozen
        codec: AnyCodec | None = None,
        tls: TlsConfig | None = None,
        proxy: str | None = ENVIRONMENT,
        connector: Callable[[str], Awaitable[ByteStream]] | None = None,
        random: Random | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.config = config or TransportConfig()
        self.breaker = breaker
        self.codec = codec
        self.tls = tls
        self.proxy = proxy
        self.connector = connector
        self.random = random
        self.clock = clock
        self.tally = Tally(0.0)
        self.tasks: TaskGroup | None = None
        self.closed = False
        self._endpoints: dict[str, Endpoint] = {}

    async def __aenter__(self) -> Self:
        if self.tasks is not None:
            raise ConfigurationError("a pool can be entered once; make a new one")
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self._clean_up_now_and_then)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.tasks is not None
        self.closed = True
        try:
            with anyio.move_on_after(_CLOSE_GRACE):
                for endpoint in self._endpoints.values():
                    await endpoint.close()
        finally:
            self.tasks.cancel_scope.cancel()
            await self.tasks.__aexit__(None, None, None)

    async def get_connection(self, endpoint: str) -> PooledConnection:
        """Return the connection to ``endpoint`` (a target of :class:`~orbit_net.client.Channel`), the same every time.

        Stubs take it like a channel; each call goes to the connection that has room for it, and the first one connects.
        Raises :class:`ConfigurationError` for a bad endpoint, and :class:`ConnectError` while its circuit is open.
        """
        await anyio.lowlevel.checkpoint()
        resolver_for(endpoint)
        found = self.endpoint(endpoint)
        if found.breaker is not None and found.breaker.refuses(self.clock()):
            raise ConnectError(f"the circuit to {endpoint} is open after repeated failures")
        found.ready()
        return found.connection

    def endpoint(self, name: str) -> Endpoint:
        """Return what is known of an endpoint; for the pool's own connections."""
        if self.closed:
            raise NetworkError("the pool is closed")
        if self.tasks is None:
            raise ConfigurationError("the pool is not open: use it inside 'async with ConnectionPool(...) as pool'")
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            endpoint = self._endpoints[name] = Endpoint(self, name)
        return endpoint

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels of all endpoints, one for each connection."""
        return tuple(member.channel for endpoint in self._endpoints.values() for member in endpoint.members)

    async def cleanup_idle_connections(self, max_idle: float | timedelta = MAX_IDLE) -> int:
        """Close the connections without calls for ``max_idle`` seconds, or over their age; return how many.

        0 closes all that have no calls now. Does not wait for the ends of the connections.
        """
        await anyio.lowlevel.checkpoint()
        seconds = max_idle if isinstance(max_idle, (int, float)) else max_idle.total_seconds()
        if seconds < 0:
            raise ConfigurationError(f"max_idle is {max_idle!r}; it must not be negative")
        closed = 0
        for name, endpoint in list(self._endpoints.items()):
            closed += endpoint.clean_up(seconds)
            if endpoint.forgettable(MAX_AGE):
                del self._endpoints[name]
        return closed

    async def _clean_up_now_and_then(self) -> None:
        while True:
            await anyio.sleep(CLEANUP_INTERVAL)
            closed = await self.cleanup_idle_connections()
            _log.debug("closed %d idle connections of %r", closed, self)

    async def get_stats(self) -> PoolStats:
        """Return the counts of this moment."""
        await anyio.lowlevel.checkpoint()
        endpoints = {name: endpoint.stats() for name, endpoint in self._endpoints.items()}
        return PoolStats(
            total_connections=sum(len(endpoint.connections) for endpoint in endpoints.values()),
            total_requests=self.tally.requests,
            total_errors=self.tally.errors,
            average_latency_ms=self.tally.latency * 1_000,
            endpoints=MappingProxyType(endpoints),
        )

    def __repr__(self) -> str:
        members: list[Any] = [member for endpoint in self._endpoints.values() for member in endpoint.members]
        active, busy = sum(member.active for member in members), sum(member.active > 0 for member in members)
        return (
            f"<ConnectionPool [Requests: {active} active | Connections: {busy} busy, {len(members) - busy} idle"
            f" | Endpoints: {len(self._endpoints)}]>"
        )
