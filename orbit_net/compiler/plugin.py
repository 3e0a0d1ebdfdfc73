"""The protoc plugin ``protoc-gen-orbit_net``: stubs and service bases for orbit_net.

Run by protoc as ``--orbit_net_out=DIR --orbit_net_opt=module=services``, together with betterproto2's plugin and the
same DIR: each package that has services gets a module beside its messages.
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

from .errors import CompileError
from .model import Module, modules
from .parameters import Parameters
from .source import source
from .symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["generate", "main"]


def main() -> None:
    """Answer the request on standard input, as protoc expects it of a plugin."""
    if sys.stdin.isatty():
        sys.exit("protoc-gen-orbit_net is a plugin: run protoc with --orbit_net_out=DIR, or orbit-net gen")
    try:
        request = CodeGeneratorRequest.parse(sys.stdin.buffer.read())
    except Exception as error:  # noqa: BLE001 - betterproto2 documents no exception for bytes that are no message
        sys.exit(f"protoc-gen-orbit_net: standard input is not a request of protoc: {error}")
    sys.stdout.buffer.write(bytes(generate(request)))


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Return the modules that a request asks for; what is wrong with it goes into ``error``, where protoc shows it."""
    features = CodeGeneratorResponseFeature.PROTO3_OPTIONAL
    try:
        return CodeGeneratorResponse(supported_features=features, file=_files(request))
    except CompileError as error:
        return CodeGeneratorResponse(supported_features=features, error=f"orbit_net: {error}")


def _files(request: CodeGeneratorRequest) -> list[CodeGeneratorResponseFile]:
    parameters = Parameters.parse(request.parameter)
    wanted = set(request.file_to_generate)
    found = modules((file for file in request.proto_file if file.name in wanted), Symbols(request.proto_file))
    _refuse_clashes(found, {file.package for file in request.proto_file}, parameters.module)
    return [
        CodeGeneratorResponseFile(name=_path(module.package, parameters.module), content=source(module))
        for module in found
    ]


def _path(package: str, module: str) -> str:
    return str(PurePosixPath(*package.split("."), f"{module}.py"))


def _refuse_clashes(found: Iterable[Module], packages: Iterable[str], name: str) -> None:
    """Python prefers a package to a module of the same name, so the module could not be imported."""
    for module in found:
        clash = f"{module.package}.{name}".removeprefix(".")
        if any(f"{package}.".startswith(f"{clash}.") for package in packages):
            raise CompileError(f"the module of stubs would hide behind the package {clash}; choose another module=NAME")
