"""Who is asked: channels and servers by their ids, and what belongs to them.

The registry is filled by hand, and not by every channel and server on its own: what it tells (addresses, certificates,
numbers) is for operators, and a process may have channels that are nobody's business.
"""

from __future__ import annotations

from itertools import count
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ReferenceType, WeakSet, finalize, ref

from orbit_net.channelz.trace import Severity, Trace, TraceEvent
from orbit_net.client import CallTally, Channel, ConnectionPool, Connectivity
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orbit_net.client import Subchannel
    from orbit_net.net import Connection

__all__ = ["ChannelEntry", "ChannelzRegistry", "ServerEntry", "SubchannelEntry"]

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
        self._subchannels: dict[Subchannel, SubchannelEntry] = {}
        self._pools: WeakSet[ConnectionPool] = WeakSet()

    def add(self, owner: Owner) -> Owner:
        """Tell of a channel or server from now on; returns it. Adding it again changes nothing.

        Of a pool, the channels that it has are told whenever somebody asks; their calls are counted from then on.
        """
        if isinstance(owner, Channel):
            if not any(entry.channel() is owner for entry in self._channels.values()):
                trace = Trace(self._trace, self._clock())
                entry = ChannelEntry(owner, next(self._ids), trace, self._entry_of)
                self._channels[entry.id] = entry
                finalize(owner, self._forget, entry.id).atexit = False
        elif isinstance(owner, Server):
            if not any(entry.server() is owner for entry in self.servers):
                served = ServerEntry(owner, self._ids, self._clock())
                self._servers[served.id] = served
                finalize(owner, self._servers.pop, served.id, None).atexit = False
        elif isinstance(owner, ConnectionPool):
            self._pools.add(owner)
        else:
            raise ConfigurationError(f"{owner!r} is neither a Channel, a ConnectionPool nor a Server")
        return owner

    @property
    def channels(self) -> list[ChannelEntry]:
        """The channels that are still there, by ascending ids."""
        for pool in list(self._pools):
            for channel in pool.channels:
                self.add(channel)
        return list(self._channels.values())

    @property
    def servers(self) -> list[ServerEntry]:
        """The servers that are still there, by ascending ids."""
        return list(self._servers.values())

    @property
    def subchannels(self) -> list[SubchannelEntry]:
        """Those of all channels, each once."""
        now = self._clock()
        found = {entry.subchannel: entry for channel in self.channels for entry in channel.look(now)}
        self._subchannels = found
        return list(found.values())

    def subchannels_of(self, channel: ChannelEntry) -> list[SubchannelEntry]:
        """Return those of one channel, by ascending ids."""
        return channel.look(self._clock())

    def _forget(self, channel_id: int) -> None:
        """A channel is gone; its subchannels may live on in others."""
        self._channels.pop(channel_id).leave()
        self._subchannels = {key: entry for key, entry in self._subchannels.items() if entry.channels}

    def _entry_of(self, subchannel: Subchannel) -> SubchannelEntry:
        entry = self._subchannels.get(subchannel)
        if entry is None:
            entry = SubchannelEntry(subchannel, self._ids, self._trace, self._clock)
            self._subchannels[subchannel] = entry
        return entry

    @property
    def sockets(self) -> Iterator[tuple[int, Connection | str]]:
        """The connections of all subchannels and servers by their ids, and the targets on which servers listen."""
        for subchannel in self.subchannels:
            yield from subchannel.sockets.refreshed(subchannel.subchannel.connections)
        for entry in self.servers:
            yield from entry.sockets
            yield from entry.listening

    def __repr__(self) -> str:
        return f"<ChannelzRegistry {len(self.channels)} channels, {len(self.servers)} servers>"


class _Numbered:
    """Ids for things that come and go: the same for the same thing, and never used again."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._known: dict[Any, int] = {}

    def refreshed(self, things: Iterable[Any]) -> list[tuple[int, Any]]:
        """Return the things with their ids, ascending; the others are forgotten."""
        self._known = {thing: self._known.get(thing) or next(self._ids) for thing in things}
        return sorted(((id_, thing) for thing, id_ in self._known.items()), key=lambda pair: pair[0])


class ServerEntry:
    """A server: ``id``, when it was ``added``, and the ids of its sockets."""

    def __init__(self, server: Server, ids: Iterator[int], added: float) -> None:
        self.id = next(ids)
        self.added = added
        self.server: ReferenceType[Server] = ref(server)
        self._sockets = _Numbered(ids)
        self._listening = _Numbered(ids)

    @property
    def sockets(self) -> list[tuple[int, Connection]]:
        """Its connections by their ids, ascending."""
        server = self.server()
        return self._sockets.refreshed(() if server is None else server.connections)

    @property
    def listening(self) -> list[tuple[int, str]]:
        """The targets that reach it, by the ids of their sockets."""
        server = self.server()
        return self._listening.refreshed(() if server is None else server.addresses)


class SubchannelEntry:
    """A subchannel: ``id``, what happened to it, the ids of its sockets; ``channels``: the traces of its channels."""

    def __init__(self, subchannel: Subchannel, ids: Iterator[int], trace: int, clock: Callable[[], float]) -> None:
        self.id = next(ids)
        self.subchannel = subchannel
        self.trace = Trace(trace, clock())
        self.sockets = _Numbered(ids)
        self.channels: list[Trace] = []
        self._clock = clock
        subchannel.observers = (*subchannel.observers, self._changed)

    def _changed(self, subchannel: Subchannel) -> None:
        failed = subchannel.state is Connectivity.TRANSIENT_FAILURE
        text = f"{subchannel.state.value}: {subchannel.error}" if failed else subchannel.state.value
        severity = Severity.WARNING if failed else Severity.INFO
        now = self._clock()
        self.trace.add(TraceEvent(now, text, severity))
        for trace in self.channels:
            trace.add(TraceEvent(now, text, severity, child=self.id))


class ChannelEntry:
    """A channel: ``id``, what happened to it, how many calls it made, and its subchannels.

    ``find`` gives the entry of a subchannel, which several channels may share.
    """

    def __init__(self, channel: Channel, id_: int, trace: Trace, find: Callable[[Subchannel], SubchannelEntry]) -> None:
        self.id = id_
        self.channel: ReferenceType[Channel] = ref(channel)
        self.trace = trace
        if channel.tally is None:
            channel.tally = CallTally()
        self.tally = channel.tally
        self._find = find
        self._known: dict[Subchannel, SubchannelEntry] = {}
        self._look(channel, trace.created)

    def look(self, now: float) -> list[SubchannelEntry]:
        """Return its subchannels of this moment, by ascending ids, and note which of them came and went."""
        channel = self.channel()
        if channel is not None:
            self._look(channel, now)
        return sorted(self._known.values(), key=lambda entry: entry.id)

    def leave(self) -> None:
        """Note nothing more of the subchannels."""
        for entry in self._known.values():
            entry.channels.remove(self.trace)
        self._known = {}

    def _look(self, channel: Channel, now: float) -> None:
        gone, self._known = self._known, {}
        for subchannel in _subchannels_of(channel):
            entry = gone.pop(subchannel, None)
            if entry is None:
                entry = self._find(subchannel)
                entry.channels.append(self.trace)
                self.trace.add(TraceEvent(now, f"subchannel to {subchannel.name}", child=entry.id))
            self._known[subchannel] = entry
        for entry in gone.values():
            entry.channels.remove(self.trace)
            self.trace.add(TraceEvent(now, f"no more subchannel to {entry.subchannel.name}", child=entry.id))


def _subchannels_of(channel: Channel) -> tuple[Subchannel, ...]:
    """Return what a channel balances its calls over; one that does not balance has one."""
    line: Any = getattr(channel, "line", None)
    found: tuple[Subchannel, ...] = (channel.subchannel,) if line is None else tuple(line.subchannels)
    return found
