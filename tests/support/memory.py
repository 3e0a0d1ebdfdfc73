"""A channel and a server at the ends of a byte stream in memory: no socket, so every step is a scheduling step."""

from contextlib import asynccontextmanager

import anyio

from echo import Echo, EchoStub, RawCodec
from orbit_net.testing import ChannelFor, MemoryConnector, memory_pair

__all__ = ["HANG", "MemoryConnector", "in_memory", "memory_pair"]

HANG = 18.0
"""Seconds after which a test that hangs is cancelled, so that its stack tells where it hung."""


@asynccontextmanager
async def in_memory(
    service=None, *, settings=None, channel_settings=None, server_interceptors=(), hang=HANG, **options
):
    """Give ``(server, channel, stub)`` over memory streams; ``channel.subchannel._connector`` is the network."""
    site = ChannelFor(
        [service or Echo()],
        RawCodec(),
        settings=channel_settings,
        server_settings=settings,
        server_interceptors=server_interceptors,
        **options,
    )
    with anyio.fail_after(hang):
        async with site as channel:
            yield site.server, channel, EchoStub(channel)
