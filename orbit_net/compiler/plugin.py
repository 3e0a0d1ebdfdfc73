"""The protoc plugin ``protoc-gen-orbit_net``: stubs and service bases for orbit_net.

Run by protoc as ``--orbit_net_out=DIR --orbit_net_opt=module=services``, together with betterproto2's plugin and the
same DIR: each package that has services gets a module beside its messages, and one more with their descriptors.
"""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from betterproto2_compiler.lib.google.protobuf.compiler import (
    CodeGeneratorRequest,
    CodeGeneratorResponse,
    CodeGeneratorResponseFeature,
    CodeGeneratorResponseFile,
)

from .descriptors import descriptors_name, descriptors_source
from .errors import CompileError
from .model import Module, modules
from .parameters import Parameters
from .raw import submessages
from .source import source
from .symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["generate", "main"]

_FILE_OF_REQUEST = 15
"""The field of google.protobuf.compiler.CodeGeneratorRequest."""


def main() -> None:
    """Answer the request on standard input, as protoc expects it of a plugin."""
    if sys.stdin.isatty():
        sys.exit("protoc-gen-orbit_net is a plugin: run protoc with --orbit_net_out=DIR, or orbit-net gen")
    data = sys.stdin.buffer.read()
    try:
        request = CodeGeneratorRequest.parse(data)
    except Exception as error:  # noqa: BLE001 - betterproto2 documents no exception for bytes that are no message
        sys.exit(f"protoc-gen-orbit_net: standard input is not a request of protoc: {error}")
    names = (file.name for file in request.proto_file)
    raw = dict(zip(names, submessages(data, _FILE_OF_REQUEST), strict=True))
    sys.stdout.buffer.write(bytes(generate(request, raw)))


def generate(request: CodeGeneratorRequest, raw: Mapping[str, bytes] | None = None) -> CodeGeneratorResponse:
    """Return the modules that a request asks for; what is wrong with it goes into ``error``, where protoc shows it.

    ``raw`` are the files of the request by their names, as protoc has serialized them.
    """
    features = CodeGeneratorResponseFeature.PROTO3_OPTIONAL
    try:
        return CodeGeneratorResponse(supported_features=features, file=_files(request, raw or {}))
    except CompileError as error:
        return CodeGeneratorResponse(supported_features=features, error=f"orbit_net: {error}")


def _files(request: CodeGeneratorRequest, raw: Mapping[str, bytes]) -> list[CodeGeneratorResponseFile]:
    parameters = Parameters.parse(request.parameter)
    name, descriptors = parameters.module, descriptors_name(parameters.module)
    found = modules(request.proto_file, request.file_to_generate, Symbols(request.proto_file))
    packages = {file.package for file in request.proto_file}
    _refuse_clashes(found, packages, name)
    _refuse_clashes(found, packages, descriptors)
    return [
        CodeGeneratorResponseFile(name=_path(module.package, of), content=content)
        for module in found
        for of, content in ((name, source(module, descriptors)), (descriptors, descriptors_source(module, raw)))
    ]


def _path(package: str, module: str) -> str:
    return str(PurePosixPath(*package.split("."), f"{module}.py"))


def _refuse_clashes(found: Iterable[Module], packages: Iterable[str], name: str) -> None:
    """Python prefers a package to a module of the same name, so the module could not be imported."""
    for module in found:
        clash = f"{module.package}.{name}".removeprefix(".")
        if any(f"{package}.".startswith(f"{clash}.") for package in packages):
            raise CompileError(f"the module of stubs would hide behind the package {clash}; choose another module=NAME")
