"""From channels, servers and connections to the messages of channelz."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from orbit_net.client import Connectivity
from orbit_net.errors import ConfigurationError
from orbit_net.net import TcpAddress, UnixAddress, parse_address
from orbit_net.proto.grpc.channelz import v1
from orbit_net.wire import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orbit_net.channelz.entries import ChannelEntry, ServerEntry, SubchannelEntry
    from orbit_net.channelz.trace import Trace
    from orbit_net.client import Channel, Subchannel
    from orbit_net.net import Connection
    from orbit_net.server import Server

__all__ = [
    "channel_message",
    "listening_message",
    "server_message",
    "socket_message",
    "socket_ref",
    "subchannel_message",
]

_STATES: Final[Mapping[Connectivity, v1.ChannelConnectivityStateState]] = {
    state: v1.ChannelConnectivityStateState[state.name] for state in Connectivity
}
_MOST: Final = 2**32 - 1


def channel_message(entry: ChannelEntry, channel: Channel) -> v1.Channel:
    """Return what is known of a channel."""
    tally = entry.tally
    return v1.Channel(
        ref=v1.ChannelRef(channel_id=entry.id, name=channel.target),
        data=v1.ChannelData(
            state=_state(channel.state),
            target=channel.target,
            trace=_trace(entry.trace),
            calls_started=tally.started,
            calls_succeeded=tally.succeeded,
            calls_failed=tally.failed,
            last_call_started_timestamp=_time(tally.started_at),
        ),
        subchannel_ref=[_subchannel_ref(child) for child, _ in entry.subchannels],
    )


def subchannel_message(entry: SubchannelEntry, subchannel: Subchannel) -> v1.Subchannel:
    """Return what is known of a subchannel; its calls are the attempts that reached a connection."""
    connections = entry.sockets.of(subchannel.connections)
    traffic, active = _sum(subchannel.traffic, (connection for _, connection in connections))
    return v1.Subchannel(
        ref=_subchannel_ref(entry),
        data=v1.ChannelData(
            state=_state(subchannel.state),
            target=subchannel.name,
            trace=_trace(entry.trace),
            calls_started=traffic.opened,
            calls_succeeded=_succeeded(traffic, active),
            calls_failed=traffic.failed + traffic.refused,
            last_call_started_timestamp=_time(traffic.opened_at),
            max_connections_per_subchannel=1,
        ),
        socket_ref=[socket_ref(id_, connection) for id_, connection in connections],
    )


def server_message(entry: ServerEntry, server: Server) -> v1.Server:
    """Return what is known of a server."""
    traffic, active = _sum(server.traffic, server.connections)
    return v1.Server(
        ref=v1.ServerRef(server_id=entry.id, name=", ".join(server.addresses)),
        data=v1.ServerData(
            trace=v1.ChannelTrace(creation_timestamp=_time(entry.added)),
            calls_started=traffic.opened,
            calls_succeeded=_succeeded(traffic, active),
            calls_failed=traffic.failed + traffic.refused,
            last_call_started_timestamp=_time(traffic.opened_at),
        ),
        listen_socket=[v1.SocketRef(socket_id=id_, name=target) for id_, target in entry.listening],
    )


def socket_message(id_: int, connection: Connection) -> v1.Socket:
    """Return what is known of a connection."""
    attributes = connection.attributes
    return v1.Socket(
        ref=socket_ref(id_, connection),
        data=_socket_data(connection),
        local=_address(attributes.extra(SocketAttribute.local_address, None)),
        remote=_address(connection.peer.address),
        security=_security(attributes),
    )


def listening_message(id_: int, target: str) -> v1.Socket:
    """Return what is known of where a server listens."""
    local: Any = target
    try:
        match parse_address(target):
            case TcpAddress(host, port):
                local = (host, port)
            case UnixAddress(path):
                local = path
    except ConfigurationError:  # not a socket of ours
        local = None
    return v1.Socket(ref=v1.SocketRef(socket_id=id_, name=target), local=_address(local))


def socket_ref(id_: int, connection: Connection) -> v1.SocketRef:
    """Return the id and the name of a connection: the address of the other end."""
    return v1.SocketRef(socket_id=id_, name=str(connection.peer))


def _subchannel_ref(entry: SubchannelEntry) -> v1.SubchannelRef:
    return v1.SubchannelRef(subchannel_id=entry.id, name=entry.name)


def _socket_data(connection: Connection) -> v1.SocketData:
    wire = connection.wire
    traffic, opened_at = wire.traffic, _time(wire.traffic.opened_at)
    return v1.SocketData(
        streams_started=traffic.opened,
        streams_succeeded=traffic.opened - traffic.failed - wire.open_streams,
        streams_failed=traffic.failed,
        messages_sent=traffic.messages_sent,
        messages_received=traffic.messages_received,
        keep_alives_sent=traffic.keepalives,
        last_local_stream_created_timestamp=opened_at if wire.client else None,
        last_remote_stream_created_timestamp=None if wire.client else opened_at,
        last_message_sent_timestamp=_time(traffic.sent_at),
        last_message_received_timestamp=_time(traffic.received_at),
        local_flow_control_window=wire.outbox.window,
        remote_flow_control_window=wire.window.available,
        received_goaway_error=traffic.goaway,
        peer_max_concurrent_streams=min(wire.peer.max_concurrent_streams, _MOST),
    )


def _sum(ended: Traffic | None, connections: Iterable[Connection]) -> tuple[Traffic, int]:
    """Return what was carried in all, and how many calls are open."""
    traffic, active = Traffic(), 0
    if ended is not None:
        traffic.add(ended)
    for connection in connections:
        traffic.add(connection.wire.traffic)
        active += connection.wire.open_streams
    return traffic, active


def _succeeded(traffic: Traffic, active: int) -> int:
    # An answer other than OK that is reset on its way is in both counts.
    return max(0, traffic.opened - traffic.failed - traffic.refused - active)


def _trace(trace: Trace) -> v1.ChannelTrace:
    events = [
        v1.ChannelTraceEvent(
            description=event.text,
            severity=v1.ChannelTraceEventSeverity(event.severity),
            timestamp=_time(event.time),
            subchannel_ref=None if event.child is None else v1.SubchannelRef(*event.child),
        )
        for event in trace.events
    ]
    return v1.ChannelTrace(num_events_logged=trace.count, creation_timestamp=_time(trace.created), events=events)


def _state(state: Connectivity) -> v1.ChannelConnectivityState:
    return v1.ChannelConnectivityState(state=_STATES[state])


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _address(address: Any) -> v1.Address | None:
    match address:
        case (str(host), int(port), *_):
            try:
                packed = ipaddress.ip_address(host.partition("%")[0]).packed
            except ValueError:
                return v1.Address(other_address=v1.AddressOtherAddress(name=f"{host}:{port}"))
            return v1.Address(tcpip_address=v1.AddressTcpIpAddress(ip_address=packed, port=port))
        case str(path) if path:
            return v1.Address(uds_address=v1.AddressUdsAddress(filename=path))
    return None


def _security(attributes: Any) -> v1.Security | None:
    cipher = attributes.extra(TLSAttribute.cipher, None)
    if not cipher:
        return None
    name, version, _ = cipher
    certificate = attributes.extra(TLSAttribute.peer_certificate_binary, None) or b""
    # OpenSSL has names of its own for the suites of TLS 1.2.
    named = {"standard_name" if version == "TLSv1.3" else "other_name": name}
    return v1.Security(tls=v1.SecurityTls(remote_certificate=certificate, **named))
