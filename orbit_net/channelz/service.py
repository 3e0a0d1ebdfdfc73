"""``grpc.channelz.v1.Channelz`` over a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from grpclib.exceptions import GRPCError

from orbit_net.channelz.describe import (
    channel_message,
    listening_message,
    server_message,
    socket_message,
    socket_ref,
    subchannel_message,
)
from orbit_net.proto.grpc.channelz import v1
from orbit_net.proto.grpc.channelz.v1.services import ChannelzBase
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.channelz.entries import ChannelEntry, ServerEntry
    from orbit_net.channelz.registry import ChannelzRegistry

__all__ = ["Channelz"]

Item = TypeVar("Item")

_PAGE: Final = 100
"""How much one answer holds at most: enough to look at, and far below the limit of a message."""


class Channelz(ChannelzBase):
    """Tells operators and their tools (``grpcdebug``) what the channels and servers of ``registry`` are doing.

    It tells addresses and certificates: serve it where only operators come. What is not there is NOT_FOUND.

    Example::

        registry = ChannelzRegistry()
        async with registry.add(Channel("localhost:50051")) as channel:
            async with registry.add(Server([Greeter(), Channelz(registry)])) as server: ...
    """

    def __init__(self, registry: ChannelzRegistry) -> None:
        self._registry = registry

    async def get_top_channels(self, request: v1.GetTopChannelsRequest) -> v1.GetTopChannelsResponse:
        """Answer with the channels from an id on."""
        channels = [(entry.id, entry) for entry in self._registry.channels]
        found, end = _page(channels, request.start_channel_id, request.max_results)
        messages = [message for _, entry in found if (message := _channel(entry)) is not None]
        return v1.GetTopChannelsResponse(channel=messages, end=end)

    async def get_servers(self, request: v1.GetServersRequest) -> v1.GetServersResponse:
        """Answer with the servers from an id on."""
        servers = [(entry.id, entry) for entry in self._registry.servers]
        found, end = _page(servers, request.start_server_id, request.max_results)
        alive = [(entry, entry.server()) for _, entry in found]
        messages = [server_message(entry, server) for entry, server in alive if server is not None]
        return v1.GetServersResponse(server=messages, end=end)

    async def get_server(self, request: v1.GetServerRequest) -> v1.GetServerResponse:
        """Answer with one server."""
        entry = self._server(request.server_id)
        server = entry.server()
        if server is None:
            raise _missing("server", request.server_id)
        return v1.GetServerResponse(server=server_message(entry, server))

    async def get_server_sockets(self, request: v1.GetServerSocketsRequest) -> v1.GetServerSocketsResponse:
        """Answer with the connections of a server from an id on."""
        sockets = self._server(request.server_id).sockets
        found, end = _page(sockets, request.start_socket_id, request.max_results)
        return v1.GetServerSocketsResponse(socket_ref=[socket_ref(*pair) for pair in found], end=end)

    async def get_channel(self, request: v1.GetChannelRequest) -> v1.GetChannelResponse:
        """Answer with one channel."""
        for entry in self._registry.channels:
            message = _channel(entry) if entry.id == request.channel_id else None
            if message is not None:
                return v1.GetChannelResponse(channel=message)
        raise _missing("channel", request.channel_id)

    async def get_subchannel(self, request: v1.GetSubchannelRequest) -> v1.GetSubchannelResponse:
        """Answer with one subchannel."""
        for entry, subchannel in self._registry.subchannels:
            if entry.id == request.subchannel_id:
                return v1.GetSubchannelResponse(subchannel=subchannel_message(entry, subchannel))
        raise _missing("subchannel", request.subchannel_id)

    async def get_socket(self, request: v1.GetSocketRequest) -> v1.GetSocketResponse:
        """Answer with one connection, or with where a server listens."""
        for id_, socket in self._registry.sockets:
            if id_ == request.socket_id:
                describe = listening_message(id_, socket) if isinstance(socket, str) else socket_message(id_, socket)
                return v1.GetSocketResponse(socket=describe)
        raise _missing("socket", request.socket_id)

    def _server(self, server_id: int) -> ServerEntry:
        for entry in self._registry.servers:
            if entry.id == server_id:
                return entry
        raise _missing("server", server_id)


def _channel(entry: ChannelEntry) -> v1.Channel | None:
    channel = entry.channel()
    return None if channel is None else channel_message(entry, channel)


def _page(items: Sequence[tuple[int, Item]], start: int, most: int) -> tuple[Sequence[tuple[int, Item]], bool]:
    """Return what one answer holds of ``items``, which are in the order of their ids, and whether that is the end."""
    if start < 0 or most < 0:
        raise GRPCError(Status.INVALID_ARGUMENT, f"start id {start} and max_results {most} must not be negative")
    wanted = [pair for pair in items if pair[0] >= start]
    page = wanted[: min(most or _PAGE, _PAGE)]
    return page, len(page) == len(wanted)


def _missing(kind: str, id_: int) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, f"there is no {kind} with the id {id_}")
