"""grpcio-reflection, a stock reflection client, against our server: our services, and those of a user's own files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from grpcio_peer import CLIENT, in_thread
from orbit_net.compiler import compile_protos, write
from orbit_net.health import GrpcHealthService, HealthRegistry, OrbitHealthService
from orbit_net.reflection import Reflection
from orbit_net.server import Server

# grpclib brings the same messages in a file of another name, and a pool, which all share by default, takes one of them.
with pytest.MonkeyPatch.context() as patch:
    pool = DescriptorPool()
    patch.setattr(descriptor_pool, "Default", lambda: pool)
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

pytestmark = pytest.mark.anyio

PROTOS = Path(__file__).parent / "protos"
OURS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]


@pytest.fixture(scope="session")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Stubs and bases of garden.v1, compiled by our plugin."""
    root = tmp_path_factory.mktemp("garden")
    files = sorted(str(path) for path in (PROTOS / "garden").rglob("*.proto"))
    write(compile_protos(files, [PROTOS]), root / "our_garden")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield importlib.import_module("our_garden.garden.v1.services")


@asynccontextmanager
async def _served(*services: Any) -> Any:
    """Give ``ask(question)``, which runs ``question(channel)`` in a thread with a channel of grpcio."""
    async with Server([*services, Reflection(services)]) as server:
        [target] = await server.listen("127.0.0.1:0")

        def run(question: Callable[[grpc.Channel], Any]) -> Any:
            with grpc.insecure_channel(target, options=CLIENT) as channel:
                return question(channel)

        async def ask(question: Callable[[grpc.Channel], Any]) -> Any:
            return await in_thread(run, question)

        yield ask


async def test_lists_services(garden: ModuleType) -> None:
    """The services of the server are listed, reflection itself among them."""
    async with _served(garden.GardenBase(), GrpcHealthService(HealthRegistry()), OrbitHealthService()) as ask:
        names = await ask(lambda channel: list(ProtoReflectionDescriptorDatabase(channel).get_services()))
    assert names == ["garden.v1.Garden", "grpc.health.v1.Health", *OURS, "orbit.shared.HealthService"]


async def test_describes_a_users_file(garden: ModuleType) -> None:
    """From the name of a service, a pool of google.protobuf builds everything that the service needs."""

    def describe(channel: grpc.Channel) -> None:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service = pool.FindServiceByName("garden.v1.Garden")
        assert [method.name for method in service.methods] == ["Sow", "Reap"]
        reap = service.FindMethodByName("Reap")
        assert (reap.client_streaming, reap.server_streaming) == (True, True)
        bed = reap.input_type
        assert [field.name for field in bed.fields] == [
            *("name", "light", "rows", "soil", "sown", "every", "rain", "depth", "counts")
        ]
        assert bed.fields_by_name["rows"].message_type.fields_by_name["value"].message_type.name == "Row"
        assert bed.fields_by_name["sown"].message_type.full_name == "google.protobuf.Timestamp"
        assert [field.name for field in bed.oneofs_by_name["water"].fields] == ["every", "rain"]
        soil = bed.fields_by_name["soil"].message_type
        assert soil.fields_by_name["ph"].default_value == 6.5
        assert soil.fields_by_name["kind"].enum_type.values_by_name["LOAM"].number == 2

    async with _served(garden.GardenBase()) as ask:
        await ask(describe)


async def test_calls_with_what_it_learned(garden: ModuleType) -> None:
    """A client that has no generated code calls a method by what reflection told."""

    class Garden(garden.GardenBase):  # type: ignore[misc, name-defined]
        async def sow(self, request: Any) -> Any:
            request.name = request.name.upper()
            return request

    def call(channel: grpc.Channel) -> Any:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        bed = GetMessageClass(pool.FindMessageTypeByName("garden.v1.Bed"))
        sow = channel.unary_unary("/garden.v1.Garden/Sow", bed.SerializeToString, bed.FromString)
        return sow(bed(name="north", depth=0, rows={"a": {"seed": "pea"}}, soil={"kind": 2}))

    async with _served(Garden()) as ask:
        answer = await ask(call)
    assert (answer.name, answer.HasField("depth"), answer.rows["a"].seed) == ("NORTH", True, "pea")
    assert answer.soil.kind == 2


async def test_extensions(garden: ModuleType) -> None:
    """Extensions are found by number, nested ones too; a message has its list of them, which may be empty."""

    def find(channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert list(database.FindAllExtensionNumbers("garden.soil.Soil")) == [100, 101]
        assert list(database.FindAllExtensionNumbers("garden.v1.Bed")) == []
        with pytest.raises(KeyError):
            database.FindAllExtensionNumbers("garden.v1.Weed")
        pool = DescriptorPool(database)
        soil = pool.FindMessageTypeByName("garden.soil.Soil")
        names = {pool.FindExtensionByNumber(soil, number).full_name for number in (100, 101)}
        assert names == {"garden.soil.worms", "garden.soil.Soil.smell"}
        assert pool.FindExtensionByName("garden.soil.worms").type == FieldDescriptor.TYPE_UINT32

    async with _served(garden.GardenBase()) as ask:
        await ask(find)


async def test_what_is_not_there(garden: ModuleType) -> None:
    """Names that nobody defined are NOT_FOUND, which that client shows as a KeyError."""

    def find(channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        for question in (
            lambda: database.FindFileByName("garden/none.proto"),
            lambda: database.FindFileContainingSymbol("garden.v1.Weed"),
        ):
            with pytest.raises(KeyError):
                question()

    async with _served(garden.GardenBase()) as ask:
        await ask(find)


async def test_files_are_what_protoc_made(garden: ModuleType, tmp_path: Path) -> None:
    """Each file arrives as protoc describes it, but for the comments."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    out = tmp_path / "set"
    wellknown = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{wellknown}", "--include_imports", f"--descriptor_set_out={out}"]
    assert protoc.main([*arguments, str(PROTOS / "garden/v1/garden.proto")]) == 0
    expected = {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}

    def fetch(channel: grpc.Channel) -> dict[str, FileDescriptorProto]:
        database = ProtoReflectionDescriptorDatabase(channel)
        return {name: database.FindFileByName(name) for name in expected}

    async with _served(garden.GardenBase()) as ask:
        assert await ask(fetch) == expected
    assert len(expected) == 5
