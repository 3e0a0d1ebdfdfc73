"""orbit_net with gzip in both directions."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from orbit_net.client import ChannelSettings
from orbit_net.server import ServerSettings

from . import orbit
from .orbit import Connection


def serve() -> AbstractAsyncContextManager[str]:
    return orbit.serve(settings=ServerSettings(compression="gzip"))


def connect(address: str) -> AbstractAsyncContextManager[Connection]:
    return orbit.connect(address, settings=ChannelSettings(compression="gzip"))
