"""What a registry keeps of a channel, a subchannel or a server: its id, its trace, and nothing that keeps it alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from orbit_net.channelz.trace import Severity, Trace
from orbit_net.client import CallTally, Connectivity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orbit_net.client import Channel, Subchannel
    from orbit_net.net import Connection
    from orbit_net.server import Server

__all__ = ["ChannelEntry", "ServerEntry", "Sockets", "SubchannelEntry"]


class Sockets:
    """Ids for connections that come and go: each has one, and none is used again."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._known: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    def of(self, connections: Iterable[Connection]) -> list[tuple[int, Connection]]:
        """Return connections with their ids, ascending."""
        for connection in connections:
            if connection not in self._known:
                self._known[connection] = next(self._ids)
        return sorted(((self._known[connection], connection) for connection in connections), key=_id_of)


def _id_of(pair: tuple[int, Any]) -> int:
    return pair[0]


class ServerEntry:
    """A server: ``id``, when it was ``added``, and the ids of its sockets."""

    def __init__(self, server: Server, ids: Iterator[int], added: float) -> None:
        self.id = next(ids)
        self.added = added
        self.server: ReferenceType[Server] = ref(server)
        self._ids = ids
        self._sockets = Sockets(ids)
        self._listening: dict[str, int] = {}

    @property
    def sockets(self) -> list[tuple[int, Connection]]:
        """Its connections by their ids, ascending."""
        server = self.server()
        return [] if server is None else self._sockets.of(server.connections)

    @property
    def listening(self) -> list[tuple[int, str]]:
        """The targets that reach it, by the ids of their sockets."""
        server = self.server()
        for target in () if server is None else server.addresses:
            if target not in self._listening:
                self._listening[target] = next(self._ids)
        return [(id_, target) for target, id_ in self._listening.items()]


class SubchannelEntry:
    """A subchannel: ``id``, what happened to it, the ids of its sockets; ``channels`` are the traces of its channels.

    It belongs to the subchannel, which tells it of its states.
    """

    def __init__(self, subchannel: Subchannel, ids: Iterator[int], trace: Trace) -> None:
        self.id = next(ids)
        self.name = subchannel.name
        self.trace = trace
        self.sockets = Sockets(ids)
        self.channels: list[Trace] = []
        subchannel.observers = (*subchannel.observers, self._changed)

    def _changed(self, subchannel: Subchannel) -> None:
        failed = subchannel.state is Connectivity.TRANSIENT_FAILURE
        text = f"{subchannel.state.value}: {subchannel.error}" if failed else subchannel.state.value
        severity = Severity.WARNING if failed else Severity.INFO
        self.trace.add(text, severity)
        for trace in self.channels:
            trace.add(text, severity, child=(self.id, self.name))


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
        self._known: dict[int, SubchannelEntry] = {}
        self._look(channel)

    @property
    def subchannels(self) -> list[tuple[SubchannelEntry, Subchannel]]:
        """Its subchannels of this moment, by ascending ids; the trace notes which of them came and went."""
        channel = self.channel()
        return [] if channel is None else self._look(channel)

    def _look(self, channel: Channel) -> list[tuple[SubchannelEntry, Subchannel]]:
        found = sorted(
            ((self._find(subchannel), subchannel) for subchannel in _subchannels_of(channel)),
            key=lambda pair: pair[0].id,
        )
        gone, self._known = self._known, {entry.id: entry for entry, _ in found}
        for entry, _ in found:
            if gone.pop(entry.id, None) is None:
                entry.channels.append(self.trace)
                self.trace.add(f"subchannel to {entry.name}", child=(entry.id, entry.name))
        for entry in gone.values():
            entry.channels.remove(self.trace)
            self.trace.add(f"no more subchannel to {entry.name}", child=(entry.id, entry.name))
        return found

    def leave(self) -> None:
        """Note nothing more of the subchannels."""
        for entry in self._known.values():
            entry.channels.remove(self.trace)
        self._known = {}


def _subchannels_of(channel: Channel) -> tuple[Subchannel, ...]:
    """Return what a channel balances its calls over; one that does not balance has one."""
    line: Any = getattr(channel, "line", None)
    found: tuple[Subchannel, ...] = (channel.subchannel,) if line is None else tuple(line.subchannels)
    return found
