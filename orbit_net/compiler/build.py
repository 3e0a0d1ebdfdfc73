"""All of it in one go: protoc, messages, stubs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from betterproto2_compiler.lib.google.protobuf import FileDescriptorProto, SourceCodeInfo
from betterproto2_compiler.lib.google.protobuf.compiler import CodeGeneratorRequest, CodeGeneratorResponse

from .errors import CompileError
from .messages import NO_SERVICES, generate_messages
from .plugin import generate
from .protoc import read_protos

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["compile_protos"]


def compile_protos(files: Sequence[str], proto_paths: Sequence[Path], *, module: str = "services") -> dict[str, str]:
    """Return the generated Python files, from path to text: messages, and ``module`` in each package with services.

    ``files`` are paths to ``.proto`` files, below one of ``proto_paths``. Name all files of a package at once: its
    messages become one Python package. Raises CompileError.
    """
    raw = read_protos(files, proto_paths)
    descriptors = list(map(FileDescriptorProto.parse, raw))
    request = CodeGeneratorRequest(
        file_to_generate=_names(files, proto_paths),
        proto_file=[_without_foreign_comments(descriptor) for descriptor in descriptors],
    )
    request.parameter = NO_SERVICES
    messages = generate_messages(request)
    request.parameter = f"module={module}"
    services = generate(request, {file.name: data for file, data in zip(descriptors, raw, strict=True)})
    if services.error:
        raise CompileError(services.error)
    return dict(sorted(_contents(messages, services)))


def _contents(*responses: CodeGeneratorResponse) -> Iterable[tuple[str, str]]:
    return ((file.name, file.content) for response in responses for file in response.file)


def _names(files: Sequence[str], proto_paths: Sequence[Path]) -> list[str]:
    """Return what protoc calls the files: their paths below the first of ``proto_paths`` that holds them."""
    return [_name(Path(file), proto_paths) for file in files]


def _name(file: Path, proto_paths: Sequence[Path]) -> str:
    for path in proto_paths:
        if file.is_relative_to(path):
            return file.relative_to(path).as_posix()
        if (path / file).is_file():
            return file.as_posix()
    raise CompileError(f"{file} is in none of the proto paths")


def _without_foreign_comments(file: FileDescriptorProto) -> FileDescriptorProto:
    """Leave out the long comments of Google's own types: their documentation is not ours to repeat."""
    if file.package == "google.protobuf":
        file.source_code_info = SourceCodeInfo()
    return file
