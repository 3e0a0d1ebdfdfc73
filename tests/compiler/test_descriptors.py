"""The descriptors beside generated stubs: what protoc said of the files, byte for byte but for the comments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from google.protobuf.descriptor_pb2 import FieldOptions, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from orbit_net.compiler import compile_protos


def _by_protoc(files: list[str], directory: Path, out: Path) -> list[FileDescriptorProto]:
    """Return what protoc describes, without comments."""
    wellknown = Path(protoc.__file__).parent / "_proto"
    paths = [f"--proto_path={directory}", f"--proto_path={wellknown}"]
    assert protoc.main(["protoc", *paths, "--include_imports", f"--descriptor_set_out={out}", *files]) == 0
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _files(text: str) -> list[bytes]:
    module: dict[str, list[bytes]] = {}
    exec(text, module)
    return module["FILES"]


def test_all_that_a_package_needs(load: Callable[[str], ModuleType], protos: Path, tmp_path: Path) -> None:
    """A service has the files of its package and of everything they import, each after its imports."""
    names = ["acme/shop/v1/odd.proto", "acme/shop/v1/shop.proto"]
    described = load("acme.shop.v1.services").ShopBase().__descriptors__()
    expected = _by_protoc([str(protos / name) for name in names], protos, tmp_path / "set")
    parsed = {file.name: file for file in map(FileDescriptorProto.FromString, described)}
    assert parsed == {file.name: file for file in expected}
    assert set(described) == {file.SerializeToString() for file in expected}
    for number, data in enumerate(described):
        assert set(FileDescriptorProto.FromString(data).dependency) <= set(list(parsed)[:number])


def test_services_of_a_package_share_them(load: Callable[[str], ModuleType]) -> None:
    """They are read once for all services of a package."""
    services = load("acme.shop.v1.services")
    assert services.IdleBase().__descriptors__() is services.ShopBase().__descriptors__()


def test_defaults_that_were_written_stay(tmp_path: Path) -> None:
    """What a file says although it is the default is told, too, and so are the options that only its users know."""
    (tmp_path / "a.proto").write_text(
        """syntax = "proto3";
        package a;
        import "google/protobuf/descriptor.proto";
        extend google.protobuf.FieldOptions { string unit = 50001; }
        message M { repeated int32 numbers = 1 [packed = false, (unit) = "\\"\\\\\\n\\000\\0071é"]; }
        service S { rpc Do(M) returns (M); }
        """,
        encoding="utf-8",
    )
    text = compile_protos([str(tmp_path / "a.proto")], [tmp_path])["a/services_descriptors.py"]
    expected = _by_protoc([str(tmp_path / "a.proto")], tmp_path, tmp_path / "set")
    assert _files(text)[-1] == expected[-1].SerializeToString()
    options: FieldOptions = expected[-1].message_type[0].field[0].options
    assert options.HasField("packed")
    assert max(map(len, text.splitlines())) <= 120
    assert text.isascii()


def test_stubs_do_not_read_them() -> None:
    """Who does not use reflection does not pay: importing stubs, and serving them, leaves the descriptors alone."""
    script = (
        "import sys\nfrom orbit_net.proto.orbit.shared.services import HealthServiceBase\n"
        "from orbit_net.server import Server\nServer([HealthServiceBase()])\n"
        "print([name for name in sys.modules if name.endswith('_descriptors')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
