"""The plugin as protoc runs it, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from betterproto2_compiler.lib.google.protobuf import (
    DescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from betterproto2_compiler.lib.google.protobuf.compiler import CodeGeneratorRequest, CodeGeneratorResponse

from orbit_net.compiler import generate

PLUGIN = Path(sysconfig.get_path("scripts"), "protoc-gen-orbit_net")


def _protoc(protos: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    files = sorted(str(path) for path in protos.rglob("*.proto"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}"),
        *(f"--plugin=protoc-gen-orbit_net={PLUGIN}", f"--orbit_net_out={out}", *options, *files),
    ]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_protoc_runs_the_plugin(protos: Path, tmp_path: Path, generated: dict[str, str]) -> None:
    """protoc with the plugin writes the same text as orbit-net gen, under the module name that is asked for."""
    done = _protoc(protos, tmp_path, "--orbit_net_opt=module=stubs")
    assert (done.returncode, done.stderr) == (0, "")
    names = ["acme/shop/v1/stubs.py", "acme/shop/v1/stubs_descriptors.py"]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")) == names
    stubs, descriptors = ((tmp_path / name).read_text("utf-8") for name in names)
    assert stubs.replace("stubs_descriptors", "services_descriptors") == generated["acme/shop/v1/services.py"]
    assert descriptors == generated["acme/shop/v1/services_descriptors.py"]


def test_protoc_shows_errors_of_the_plugin(protos: Path, tmp_path: Path) -> None:
    """An unknown option ends in one line by protoc, not in a traceback."""
    done = _protoc(protos, tmp_path, "--orbit_net_opt=modul=stubs")
    assert done.returncode == 1
    assert done.stderr == "--orbit_net_out: orbit_net: unknown option 'modul=stubs'; known is module=NAME\n"


def test_input_that_is_no_request() -> None:
    """Bytes that protoc would not send end in one line and status 1."""
    done = subprocess.run([PLUGIN], input=b"\n", capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"protoc-gen-orbit_net: standard input is not a request of protoc: ")
    assert done.stderr.count(b"\n") == 1


def _file(*messages: str, package: str = "a", **rpcs: str) -> FileDescriptorProto:
    """A file with messages, and a service whose rpcs take and give a message."""
    methods = [
        MethodDescriptorProto(name=name, input_type=message, output_type=message) for name, message in rpcs.items()
    ]
    return FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        message_type=[DescriptorProto(name=name) for name in messages],
        service=[ServiceDescriptorProto(name="Svc", method=methods)] if methods else [],
    )


def _generate(*files: FileDescriptorProto, parameter: str = "") -> CodeGeneratorResponse:
    return generate(
        CodeGeneratorRequest(
            file_to_generate=[file.name for file in files], parameter=parameter, proto_file=list(files)
        )
    )


@pytest.mark.parametrize(
    ("parameter", "error"),
    [
        ("speed=high", "unknown option 'speed=high'; known is module=NAME"),
        ("module", "module='' is not a name that Python can import"),
        ("module=", "module='' is not a name that Python can import"),
        ("module=my-stubs", "module='my-stubs' is not a name that Python can import"),
        ("module=class", "module='class' is not a name that Python can import"),
        ("module=__init__", "module='__init__' would overwrite a file of the messages"),
        ("module=a,module=b", "option 'module' is given twice"),
    ],
)
def test_bad_parameters(parameter: str, error: str) -> None:
    """A parameter that cannot be followed is refused with its value."""
    response = _generate(_file("M", Do=".a.M"), parameter=parameter)
    assert response.error == f"orbit_net: {error}"
    assert response.file == []


def test_two_rpcs_of_one_python_name() -> None:
    """Two rpcs that Python would call the same are refused: one would silently replace the other."""
    response = _generate(_file("M", GetFoo=".a.M", get_foo=".a.M"))
    assert response.error == "orbit_net: two rpcs of a.Svc would both be called get_foo in Python; rename one"


def test_two_services_of_one_python_name() -> None:
    """Two services that Python would call the same are refused."""
    file = _file("M", Do=".a.M")
    file.service.append(ServiceDescriptorProto(name="svc"))
    assert _generate(file).error == (
        "orbit_net: two services of package a would both be called Svc in Python; rename one"
    )


def test_two_messages_of_one_python_name() -> None:
    """An rpc with a message whose Python class another message replaces is refused."""
    file = _file("Foo", "FooBar", Do=".a.FooBar")
    file.message_type[0].nested_type.append(DescriptorProto(name="Bar"))
    assert _generate(file).error == "orbit_net: a.Foo.Bar and a.FooBar both become the Python class FooBar; rename one"


def test_module_behind_a_package() -> None:
    """A module that a proto package of the same name would hide is refused."""
    response = _generate(_file("M", Do=".a.M"), _file("N", package="a.services.v1"))
    assert response.error == (
        "orbit_net: the module of stubs would hide behind the package a.services; choose another module=NAME"
    )


def test_descriptors_behind_a_package() -> None:
    """So is the module of descriptors."""
    response = _generate(_file("M", Do=".a.M"), _file("N", package="a.services_descriptors"))
    assert "would hide behind the package a.services_descriptors;" in response.error


def test_package_that_python_cannot_import() -> None:
    """A message from another package with a keyword in its name is refused."""
    response = _generate(_file("M", Do=".b.class.N"), _file("N", package="b.class"))
    assert response.error == ("orbit_net: Python cannot import from package b.class: a part of its name is a keyword")


def test_unknown_message() -> None:
    """A request without the file of a message is refused by its name."""
    assert _generate(_file("M", Do=".b.N")).error == "orbit_net: no file defines b.N"


def test_only_the_files_asked_for() -> None:
    """Services of imported files are not generated; a request for nothing gives nothing."""
    response = generate(CodeGeneratorRequest(proto_file=[_file("M", Do=".a.M")]))
    assert (response.error, response.file) == ("", [])


def test_without_a_package() -> None:
    """Services of a file without a package go to the top, with routes that have no package either."""
    file, descriptors = _generate(_file("M", package="", Do=".M")).file
    assert (file.name, descriptors.name) == ("services.py", "services_descriptors.py")
    assert "from . import M\n" in file.content
    assert '"/Svc/Do"' in file.content
