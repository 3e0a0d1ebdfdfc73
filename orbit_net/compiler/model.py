"""What a module of stubs says, before it is text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from betterproto2_compiler.compile.naming import pythonize_class_name, pythonize_method_name

from .comments import Comments
from .descriptors import closure
from .errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from betterproto2_compiler.lib.google.protobuf import (
        FileDescriptorProto,
        MethodDescriptorProto,
        ServiceDescriptorProto,
    )

    from .symbols import MessageClass, Symbols

__all__ = ["Method", "Module", "Service", "modules"]

# The attributes of orbit_net.client.Stub and orbit_net.server.Service, which an rpc must not replace.
_TAKEN_METHOD_NAMES = frozenset(
    {"channel", "timeout", "deadline", "metadata", "_call", "__init__", "__mapping__", "__descriptors__"}
    | {"_unary_unary", "_unary_stream", "_stream_unary", "_stream_stream"}
)


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc."""

    name: str
    route: str
    request: MessageClass
    reply: MessageClass
    client_streaming: bool
    server_streaming: bool
    comment: str

    @property
    def kind(self) -> str:
        """``unary_unary``, ``unary_stream``, ``stream_unary`` or ``stream_stream``."""
        return "_".join("stream" if streams else "unary" for streams in (self.client_streaming, self.server_streaming))


@dataclass(frozen=True, slots=True)
class Service:
    """One service: a stub class and a base class."""

    name: str
    proto_name: str
    methods: Sequence[Method]
    comment: str

    @property
    def stub(self) -> str:
        """The name of the class that calls the service."""
        return f"{self.name}Stub"

    @property
    def base(self) -> str:
        """The name of the class that an implementation derives from."""
        return f"{self.name}Base"


@dataclass(frozen=True, slots=True)
class Module:
    """The services of one proto package, and the files that define them, each after its imports."""

    package: str
    files: Sequence[str]
    services: Sequence[Service]
    sources: Sequence[FileDescriptorProto]


def modules(files: Sequence[FileDescriptorProto], wanted: Collection[str], symbols: Symbols) -> list[Module]:
    """Return a module for each package that has services in the ``wanted`` ones of ``files``, ordered by their names.

    Raises CompileError if two services, or two of their rpcs, would need the same name in Python.
    """
    packages: dict[str, list[FileDescriptorProto]] = {}
    for file in sorted(files, key=lambda file: file.name):
        if file.service and file.name in wanted:
            packages.setdefault(file.package, []).append(file)
    return [_module(package, packages[package], files, symbols) for package in sorted(packages)]


def _module(
    package: str, files: Sequence[FileDescriptorProto], all_files: Sequence[FileDescriptorProto], symbols: Symbols
) -> Module:
    services = [service for file in files for service in _services(file, symbols)]
    _refuse_twins([service.name for service in services], f"services of package {package or '(none)'}")
    services.sort(key=lambda service: service.name)
    names = [file.name for file in files]
    return Module(package, names, services, closure(names, all_files))


def _services(file: FileDescriptorProto, symbols: Symbols) -> list[Service]:
    comments = Comments(file)
    prefix = f"{file.package}." if file.package else ""
    return [
        _service(service, f"{prefix}{service.name}", index, comments, symbols)
        for index, service in enumerate(file.service)
    ]


def _service(
    service: ServiceDescriptorProto, full_name: str, index: int, comments: Comments, symbols: Symbols
) -> Service:
    methods = [
        _method(method, full_name, comments.of_method(index, number), symbols)
        for number, method in enumerate(service.method)
    ]
    _refuse_twins([method.name for method in methods], f"rpcs of {full_name}")
    return Service(pythonize_class_name(service.name), full_name, methods, comments.of_service(index))


def _method(method: MethodDescriptorProto, service: str, comment: str, symbols: Symbols) -> Method:
    name = pythonize_method_name(method.name)
    return Method(
        name=f"{name}_" if name in _TAKEN_METHOD_NAMES else name,
        route=f"/{service}/{method.name}",
        request=symbols.find(method.input_type),
        reply=symbols.find(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        comment=comment,
    )


def _refuse_twins(names: Collection[str], what: str) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise CompileError(f"two {what} would both be called {twins[0]} in Python; rename one")
