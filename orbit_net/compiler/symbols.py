"""Which Python class each proto message became.

betterproto2's compiler decides that: one module per proto package, nested messages flattened into their package, names
in PascalCase. Its own naming function is used, so stubs and messages cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from betterproto2_compiler.compile.naming import pythonize_class_name

from .errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from betterproto2_compiler.lib.google.protobuf import DescriptorProto, FileDescriptorProto

__all__ = ["MessageClass", "Symbols"]


@dataclass(frozen=True, slots=True, order=True)
class MessageClass:
    """A message class in the Python package that betterproto2 generated."""

    package: str  # of the proto file, dotted; empty for none
    name: str


class Symbols:
    """The message classes of a set of files, by the full proto name of their message."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._classes: dict[str, MessageClass] = {}
        self._owners: dict[MessageClass, list[str]] = {}
        for file in files:
            for path in _message_paths(file.message_type):
                self._add(file.package, path)

    def _add(self, package: str, path: str) -> None:
        full_name = f".{package}.{path}" if package else f".{path}"
        message = MessageClass(package, pythonize_class_name(path))
        self._classes[full_name] = message
        self._owners.setdefault(message, []).append(full_name.removeprefix("."))

    def find(self, full_name: str) -> MessageClass:
        """Return the class of a message, named as in a descriptor (``.package.Outer.Inner``).

        Raises CompileError if another message became a class of the same name: only one of them can be imported.
        """
        try:
            message = self._classes[full_name]
        except KeyError:
            raise CompileError(f"no file defines {full_name.removeprefix('.')}") from None
        owners = self._owners[message]
        if len(owners) > 1:
            raise CompileError(f"{' and '.join(owners)} both become the Python class {message.name}; rename one")
        return message


def _message_paths(messages: Sequence[DescriptorProto], outer: str = "") -> Iterator[str]:
    for message in messages:
        path = f"{outer}.{message.name}" if outer else message.name
        yield path
        yield from _message_paths(message.nested_type, path)
