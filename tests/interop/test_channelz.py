"""grpcio-channelz, its messages and its stub, against our service."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from echo import Echo, EchoStub, RawCodec
from grpcio_peer import CLIENT, in_thread
from orbit_net.channelz import Channelz, ChannelzRegistry
from orbit_net.client import Channel
from orbit_net.proto.grpc.channelz.v1.services_descriptors import FILES
from orbit_net.server import Server

pytestmark = pytest.mark.anyio


def test_the_contract_is_the_public_one() -> None:
    """Our file says what grpcio's says: each message, field, number, type, enum and method."""
    theirs = FileDescriptorProto()
    channelz_pb2.DESCRIPTOR.CopyToProto(theirs)
    ours = FileDescriptorProto.FromString(FILES[-1])
    for file in (theirs, ours):
        file.ClearField("options")  # of other languages
        for message in file.message_type:
            _strip(message)
    assert {message.name: message for message in ours.message_type} == {
        message.name: message for message in theirs.message_type
    }
    assert sorted(ours.service[0].method, key=lambda method: method.name) == sorted(
        theirs.service[0].method, key=lambda method: method.name
    )


def _strip(message: DescriptorProto) -> None:
    message.ClearField("reserved_range")
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _strip(nested)


async def test_a_stock_client_walks_from_channels_to_sockets() -> None:
    """grpcio's stub reads all of it, and finds the way from a channel to the addresses of its connection."""
    registry = ChannelzRegistry()

    def walk(target: str) -> None:
        with grpc.insecure_channel(target, options=CLIENT) as asking:
            stub = channelz_pb2_grpc.ChannelzStub(asking)
            top = stub.GetTopChannels(channelz_pb2.GetTopChannelsRequest())
            [channel] = top.channel
            assert (top.end, channel.data.calls_started, channel.data.calls_succeeded) == (True, 2, 2)
            assert channel.data.state.state == channelz_pb2.ChannelConnectivityState.READY
            assert [event.description for event in channel.data.trace.events][1:] == ["connecting", "ready"]
            [ref] = channel.subchannel_ref
            request = channelz_pb2.GetSubchannelRequest(subchannel_id=ref.subchannel_id)
            [ref] = stub.GetSubchannel(request).subchannel.socket_ref
            socket = stub.GetSocket(channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)).socket
            assert socket.data.messages_sent == 2
            assert socket.data.local_flow_control_window.value > 0
            assert socket.remote.tcpip_address.ip_address == b"\x7f\0\0\1"
            [server] = stub.GetServers(channelz_pb2.GetServersRequest()).server
            assert server.data.calls_succeeded == 2
            request = channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id)
            [ref] = stub.GetServerSockets(request).socket_ref
            theirs = stub.GetSocket(channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)).socket
            assert theirs.remote == socket.local
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetChannel(channelz_pb2.GetChannelRequest(channel_id=99))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    async with registry.add(Server([Echo()], codec=RawCodec())) as server, Server([Channelz(registry)]) as admin:
        [target] = await server.listen("127.0.0.1:0")
        [told_at] = await admin.listen("127.0.0.1:0")
        async with registry.add(Channel(target, codec=RawCodec())) as channel:
            stub = EchoStub(channel)
            for _ in range(2):
                await stub.unary(b"x")
            await in_thread(walk, told_at)
