"""Who is asked: channels and servers by their ids, and what belongs to them.

The registry is filled by hand, and not by every channel and server on its own: what it tells (addresses, certificates,
numbers) is for operators, and a process may have channels that are nobody's business.
"""

from __future__ import annotations

from itertools import count
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ReferenceType, finalize, ref

from orbit_net.channelz.trace import Severity, Trace, TraceEvent
from orbit_net.client import CallTally, Channel, Connectivity
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orbit_net.client import Subchannel
    from orbit_net.net import Connection

__all__ = ["ChannelEntry", "ChannelzRegistry", "ServerEntry", "SubchannelEntry"]

Owner = TypeVar("Owner", Channel, Server)


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

    def add(self, owner: Owner) -> Owner:
        """Tell of a channel or server from now on; returns it. Adding it again changes nothing."""
        if isinstance(owner, Channel):
            if not any(entry.channel() is owner for entry in self.channels):
                entry = ChannelEntry(owner, self._ids, self._trace, self._clock)
                self._channels[entry.id] = entry
                finalize(owner, self._channels.pop, entry.id, None)
        elif isinstance(owner, Server):
            if not any(entry.server() is owner for entry in self.servers):
                served = ServerEntry(owner, self._ids, self._clock())
                self._servers[served.id] = served
                finalize(owner, self._servers.pop, served.id, None)
        else:
            raise ConfigurationError(f"{owner!r} is neither a Channel nor a Server")
        return owner

    @property
    def channels(self) -> list[ChannelEntry]:
        """The channels that are still there, by ascending ids."""
        return list(self._channels.values())

    @property
    def servers(self) -> list[ServerEntry]:
        """The servers that are still there, by ascending ids."""
        return list(self._servers.values())

    @property
    def subchannels(self) -> Iterator[SubchannelEntry]:
        """Those of all channels."""
        for channel in self.channels:
            yield from channel.subchannels

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


class ChannelEntry:
    """A channel: ``id``, what happened to it, how many calls it made, and its subchannels."""

    def __init__(self, channel: Channel, ids: Iterator[int], trace: int, clock: Callable[[], float]) -> None:
        self.id = next(ids)
        self.channel: ReferenceType[Channel] = ref(channel)
        self.trace = Trace(trace, clock())
        if channel.tally is None:
            channel.tally = CallTally()
        self.tally = channel.tally
        self._size = trace
        self._clock = clock
        self._ids = ids
        self._known: dict[Subchannel, SubchannelEntry] = {}
        self._look(channel)

    @property
    def subchannels(self) -> list[SubchannelEntry]:
        """Its subchannels, by ascending ids."""
        channel = self.channel()
        if channel is not None:
            self._look(channel)
        return sorted(self._known.values(), key=lambda entry: entry.id)

    def _look(self, channel: Channel) -> None:
        """Notice the subchannels that are new, and those that are gone."""
        known, self._known = self._known, {}
        for subchannel in _subchannels_of(channel):
            self._known[subchannel] = known.get(subchannel) or self._meet(subchannel)

    def _meet(self, subchannel: Subchannel) -> SubchannelEntry:
        entry = SubchannelEntry(subchannel, self._ids, Trace(self._size, self._clock()))
        trace, clock = self.trace, self._clock  # and not the entry: a subchannel must not keep its channel alive
        trace.add(TraceEvent(clock(), f"subchannel to {subchannel.name}", child=entry.id))

        def changed(subchannel: Subchannel) -> None:
            failed = subchannel.state is Connectivity.TRANSIENT_FAILURE
            text = f"{subchannel.state.value}: {subchannel.error}" if failed else subchannel.state.value
            severity = Severity.WARNING if failed else Severity.INFO
            now = clock()
            entry.trace.add(TraceEvent(now, text, severity))
            trace.add(TraceEvent(now, text, severity, child=entry.id))

        subchannel.watchers = (*subchannel.watchers, changed)
        return entry


class SubchannelEntry:
    """A subchannel: ``id``, what happened to it, and the ids of its sockets."""

    def __init__(self, subchannel: Subchannel, ids: Iterator[int], trace: Trace) -> None:
        self.id = next(ids)
        self.subchannel = subchannel
        self.trace = trace
        self.sockets = _Numbered(ids)


def _subchannels_of(channel: Channel) -> tuple[Subchannel, ...]:
    """Return what a channel balances its calls over; one that does not balance has one."""
    line: Any = channel.subchannel
    found: tuple[Subchannel, ...] = getattr(line, "subchannels", (line,))
    return found
