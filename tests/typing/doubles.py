"""What mypy must make of the public test doubles and of what looks into a server (``make types``); never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from orbit_net.channelz import Channelz, ChannelzRegistry
from orbit_net.client import Channel, ConnectionPool
from orbit_net.health import GrpcHealthService, HealthRegistry
from orbit_net.reflection import Reflection
from orbit_net.server import Server
from orbit_net.testing import Break, ChannelFor, FaultyStream, MemoryConnector, MemoryNetwork, VirtualClock

if TYPE_CHECKING:
    from anyio.abc import ByteStream, TaskGroup


async def channel_for() -> None:
    services = [GrpcHealthService(HealthRegistry())]
    site = ChannelFor([*services, Reflection(services)], wrap=lambda stream: FaultyStream(stream, send=[Break(9)]))
    async with site as channel:
        assert_type(channel, Channel)
    assert_type(site.server, Server)
    ChannelFor(services, None, None, None)  # type: ignore[call-arg]
    ChannelFor(services, wrap=Break)  # type: ignore[arg-type]


async def network(tasks: TaskGroup, server: Server) -> ByteStream:
    made = MemoryNetwork(tasks)
    made.serve("a:1", server.serve_stream)
    Channel("a:1", connector=made.connector("a:1"))
    Channel("a:1", connector=MemoryConnector(tasks, server.serve_stream))
    ConnectionPool(connector=made.connect, clock=VirtualClock())
    return await made.connect("a:1")


def registry(channel: Channel, server: Server, pool: ConnectionPool) -> None:
    made = ChannelzRegistry(clock=VirtualClock())
    assert_type(made.add(channel), Channel)
    assert_type(made.add(server), Server)
    assert_type(made.add(pool), ConnectionPool)
    made.add(Channelz(made))  # type: ignore[type-var]
