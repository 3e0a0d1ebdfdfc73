"""Server reflection as its clients see it, in both versions of the service."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.const import Cardinality, Handler

from echo import Echo
from orbit_net.client import Channel
from orbit_net.health import GrpcHealthService, HealthRegistry
from orbit_net.proto.grpc.reflection import v1, v1alpha
from orbit_net.proto.grpc.reflection.v1.services import ServerReflectionStub
from orbit_net.proto.grpc.reflection.v1alpha.services import ServerReflectionStub as AlphaStub
from orbit_net.proto.orbit.shared.services import ConnectionServiceBase
from orbit_net.reflection import Reflection
from orbit_net.server import Server
from orbit_net.status import Status

pytestmark = pytest.mark.anyio

SELF = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
HEALTH = "grpc/health/v1/health.proto"


@pytest.fixture(params=["v1", "v1alpha"])
async def ask(request):
    """``await ask(kind=value)`` asks on one call of a server with three services."""
    services = [GrpcHealthService(HealthRegistry()), ConnectionServiceBase(), Echo()]
    stub_class, messages = {"v1": (ServerReflectionStub, v1), "v1alpha": (AlphaStub, v1alpha)}[request.param]
    async with Server([*services, Reflection(services)]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel, stub_class(channel).server_reflection_info() as stream:

            async def ask(**question):
                if "file_containing_extension" in question:
                    question["file_containing_extension"] = messages.ExtensionRequest(
                        *question["file_containing_extension"]
                    )
                await stream.send_message(messages.ServerReflectionRequest(**question))
                return await stream.recv_message()

            yield ask
            await stream.end()
            assert await stream.recv_message() is None


def _names(answer):
    files = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(data).name for data in files]


async def test_all_services_are_listed(ask):
    """The services are listed in order, reflection too, and those of which only the name is known."""
    answer = await ask(list_services="*")
    names = [service.name for service in answer.list_services_response.service]
    assert names == ["grpc.health.v1.Health", *SELF, "orbit.shared.ConnectionService", "test.Echo"]


async def test_an_answer_repeats_the_question(ask):
    """An answer has the host and the question in it."""
    answer = await ask(host="here", list_services="x")
    assert (answer.valid_host, answer.original_request.list_services) == ("here", "x")


@pytest.mark.parametrize(
    "symbol",
    [
        "grpc.health.v1.Health",
        "grpc.health.v1.Health.Watch",
        "grpc.health.v1.HealthCheckResponse",
        "grpc.health.v1.HealthCheckResponse.status",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        "grpc.health.v1.HealthCheckResponse.SERVING",
        "grpc.health.v1.HealthListResponse.StatusesEntry.key",
    ],
)
async def test_symbols_lead_to_their_file(ask, symbol):
    """Whatever a file defines leads to it."""
    assert _names(await ask(file_containing_symbol=symbol)) == [HEALTH]


async def test_imports_come_along_once(ask):
    """The first answer brings the imports, later ones only what was not told; what is asked for always comes."""
    name = "orbit/shared/connection.proto"
    first = _names(await ask(file_by_filename=name))
    assert first[0] == name
    assert set(first[1:]) >= {"orbit/shared/node.proto", "google/protobuf/timestamp.proto"}
    assert len(first) == len(set(first))
    assert _names(await ask(file_by_filename=name)) == [name]
    assert _names(await ask(file_containing_symbol="orbit.shared.NodeIdProto")) == ["orbit/shared/node.proto"]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"file_by_filename": "none.proto"}, "no file 'none.proto' is known"),
        ({"file_containing_symbol": "no.Such"}, "no symbol 'no.Such' is known"),
        ({"file_containing_symbol": ""}, "no symbol '' is known"),
        ({"file_containing_symbol": "grpc.health.v1"}, "no symbol 'grpc.health.v1' is known"),
        ({"file_containing_extension": ("no.Such", 5)}, "no extension 5 of 'no.Such' is known"),
        ({"all_extension_numbers_of_type": "no.Such"}, "no message 'no.Such' is known"),
        (
            {"file_containing_symbol": "test.Echo.Unary"},
            "the service test.Echo is served, but its generated code brings no descriptor along",
        ),
    ],
)
async def test_what_is_not_found_is_an_answer(ask, question, text):
    """What nobody defined is NOT_FOUND with its name, and the call goes on."""
    answer = await ask(**question)
    assert (answer.error_response.error_code, answer.error_response.error_message) == (Status.NOT_FOUND.value, text)
    assert _names(await ask(file_by_filename=HEALTH)) == [HEALTH]


async def test_a_question_of_the_future(ask):
    """A request that asks nothing we know is INVALID_ARGUMENT, and the call goes on."""
    assert (await ask()).error_response.error_code == Status.INVALID_ARGUMENT.value
    assert (await ask(list_services="")).list_services_response is not None


async def test_messages_without_extensions_have_none(ask):
    """A message that nobody extends has an empty list."""
    answer = await ask(all_extension_numbers_of_type="grpc.health.v1.HealthCheckRequest")
    numbers = answer.all_extension_numbers_response
    assert (numbers.base_type_name, numbers.extension_number) == ("grpc.health.v1.HealthCheckRequest", [])


class _Google:
    """A service as grpclib's plugin makes it: no descriptors but those of its messages."""

    def __mapping__(self):
        return {"/google.protobuf.Other/Do": Handler(None, Cardinality.UNARY_UNARY, FileDescriptorProto, bytes)}


def test_messages_of_google_bring_their_descriptors():
    """A service with messages of google.protobuf is described by what these know."""
    reflection = Reflection([_Google()])
    assert reflection.index.defining("google.protobuf.FileDescriptorProto.name") == "google/protobuf/descriptor.proto"
    assert reflection.index.defining("google.protobuf.Other") is None
    assert reflection.names == ["google.protobuf.Other", *SELF]


def test_further_files():
    """Files with extensions that no service imports are known if they are given."""
    file = FileDescriptorProto(name="x.proto", package="x")
    file.extension.add(name="e", number=5, extendee=".grpc.health.v1.HealthCheckRequest")
    reflection = Reflection([GrpcHealthService(HealthRegistry())], files=[file.SerializeToString()])
    assert reflection.index.extending("grpc.health.v1.HealthCheckRequest", 5) == "x.proto"
    assert repr(reflection) == "<Reflection of 3 services>"
