"""Who is asked: channels and servers, by hand and held weakly.

The registry is filled by hand, and not by every channel and server on its own: what it tells (addresses, certificates,
numbers) is for operators, and a process may have channels that are nobody's business.
"""

from __future__ import annotations

from itertools import count
from time import time
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, WeakSet, finalize

from orbit_net.channelz.entries import ChannelEntry, ServerEntry, SubchannelEntry
from orbit_net.channelz.trace import Trace
from orbit_net.client import Channel, ConnectionPool
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orbit_net.client import Subchannel
    from orbit_net.net import Connection

__all__ = ["ChannelzRegistry"]

Owner = TypeVar("Owner", Channel, ConnectionPool, Server)


class ChannelzRegistry:
    """The channels and servers that a :class:`Channelz` service tells of.

    They are held weakly: one that nobody uses any more is gone from here too. ``trace`` is how many events are kept of
    each channel and of each subchannel; ``clock`` gives seconds since the epoch. The calls of a channel are counted
    from the moment that it is added, all else always.
    """

    def __init__(self, *, trace: int = 32, clock: Callable[[], float] = time) -> None:
        if trace < 0:
            raise ConfigurationError(f"trace is {trace!r}; it must not be negative")
        self._trace = trace
        self._clock = clock
        self._ids = count(1)
        self._channels: dict[int, ChannelEntry] = {}
        self._servers: dict[int, ServerEntry] = {}
        self._added: WeakSet[Channel | ConnectionPool | Server] = WeakSet()
        self._subchannels: WeakKeyDictionary[Subchannel, SubchannelEntry] = WeakKeyDictionary()

    def add(self, owner: Owner) -> Owner:
        """Tell of a channel or server from now on; returns it. Adding it again changes nothing.

        Of a pool, the channels that it has are told whenever somebody asks; their calls are counted from then on.
        """
        if not isinstance(owner, Channel | ConnectionPool | Server):
            raise ConfigurationError(f"{owner!r} is neither a Channel, a ConnectionPool nor a Server")
        if owner not in self._added:
            self._added.add(owner)
            if isinstance(owner, Channel):
                self._add_channel(owner)
            elif isinstance(owner, Server):
                self._add_server(owner)
        return owner

    def _add_channel(self, channel: Channel) -> None:
        entry = ChannelEntry(channel, next(self._ids), self._new_trace(), self._entry_of)
        self._channels[entry.id] = entry
        finalize(channel, self._forget, entry.id).atexit = False

    def _add_server(self, server: Server) -> None:
        entry = ServerEntry(server, self._ids, self._clock())
        self._servers[entry.id] = entry
        finalize(server, self._servers.pop, entry.id, None).atexit = False

    def _forget(self, channel_id: int) -> None:
        """A channel is gone; its subchannels may live on in others."""
        self._channels.pop(channel_id).leave()

    def _new_trace(self) -> Trace:
        return Trace(self._trace, self._clock)

    def _entry_of(self, subchannel: Subchannel) -> SubchannelEntry:
        entry = self._subchannels.get(subchannel)
        if entry is None:
            entry = self._subchannels[subchannel] = SubchannelEntry(subchannel, self._ids, self._new_trace())
        return entry

    @property
    def channels(self) -> list[ChannelEntry]:
        """The channels that are still there, by ascending ids."""
        for pool in [one for one in self._added if isinstance(one, ConnectionPool)]:
            for channel in pool.channels:
                self.add(channel)
        return list(self._channels.values())

    @property
    def servers(self) -> list[ServerEntry]:
        """The servers that are still there, by ascending ids."""
        return list(self._servers.values())

    @property
    def subchannels(self) -> list[tuple[SubchannelEntry, Subchannel]]:
        """Those of all channels, each once."""
        return list({pair[0].id: pair for channel in self.channels for pair in channel.subchannels}.values())

    @property
    def sockets(self) -> Iterator[tuple[int, Connection | str]]:
        """The connections of all subchannels and servers by their ids, and the targets on which servers listen."""
        for entry, subchannel in self.subchannels:
            yield from entry.sockets.of(subchannel.connections)
        for server in self.servers:
            yield from server.sockets
            yield from server.listening

    def __repr__(self) -> str:
        return f"<ChannelzRegistry {len(self.channels)} channels, {len(self.servers)} servers>"
