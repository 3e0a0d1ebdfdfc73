"""grpclib's reflection service runs unmodified on our server, and ours describes services of grpclib's plugin."""

from __future__ import annotations

import importlib

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.const import Status
from grpclib.reflection.service import ServerReflection

from orbit_net.client import Channel
from orbit_net.reflection import Reflection
from orbit_net.server import Server

pytestmark = pytest.mark.anyio


def _relay(plugin):
    """Return the generated base with nothing behind its methods."""
    return type("Relay", (plugin.RelayBase,), dict.fromkeys(("Say", "Count", "Sum", "Chat")))()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(plugin, version):
    """Both versions of the service list the services and give the file of a symbol, in one full-duplex call."""
    messages = importlib.import_module(f"grpclib.reflection.{version}.reflection_pb2")
    services = importlib.import_module(f"grpclib.reflection.{version}.reflection_grpc")

    async def ask(**question):
        await stream.send_message(messages.ServerReflectionRequest(**question))
        return await stream.recv_message()

    async with Server(ServerReflection.extend([_relay(plugin)])) as server:
        [target] = await server.listen("127.0.0.1:0")
        channel = Channel(target)
        async with channel, services.ServerReflectionStub(channel).ServerReflectionInfo.open() as stream:
            answer = await ask(list_services="")
            assert [service.name for service in answer.list_services_response.service] == ["relay.v1.Relay"]
            answers = [
                await ask(file_containing_symbol="relay.v1.Note"),
                await ask(file_by_filename="relay/v1/relay.proto"),
            ]
            for answer in answers:
                [data] = answer.file_descriptor_response.file_descriptor_proto
                assert FileDescriptorProto.FromString(data).package == "relay.v1"
            assert (await ask(file_containing_symbol="no.Such")).error_response.error_code == Status.NOT_FOUND.value
            await stream.end()
            assert await stream.recv_message() is None


async def test_ours_describes_services_of_grpclibs_plugin(plugin):
    """A service without descriptors of its own is described in full by those of its messages of google.protobuf."""
    reflection = Reflection([_relay(plugin)])
    assert "relay.v1.Relay" in reflection.names
    for symbol in ("relay.v1.Relay", "relay.v1.Relay.Say", "relay.v1.Note", "relay.v1.Reply.NotesEntry"):
        assert reflection.index.defining(symbol) == "relay/v1/relay.proto"
    [data] = reflection.index.with_imports("relay/v1/relay.proto", set())
    assert FileDescriptorProto.FromString(data).service[0].name == "Relay"


async def test_ours_names_services_of_betterproto(relay):
    """Of services that betterproto's compilers made, only the names are known."""

    class Relay(relay.RelayBase): ...

    reflection = Reflection([Relay()])
    assert "relay.v1.Relay" in reflection.names
    assert reflection.index.defining("relay.v1.Relay") is None
