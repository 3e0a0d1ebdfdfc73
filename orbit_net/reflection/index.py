"""Which file defines what: an index over serialized descriptors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbit_net.codec import Codec
from orbit_net.errors import CodecError, ConfigurationError
from orbit_net.reflection.descriptor import FileDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orbit_net.reflection.descriptor import EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor

__all__ = ["FileIndex"]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    data: bytes
    imports: Sequence[str]


class FileIndex:
    """Files by their name, by the full names that they define, and by their extensions.

    ``files`` are serialized ``FileDescriptorProto``\\ s in any order. Of two with the same name the first one counts:
    the imports of several generated packages overlap. Raises :class:`ConfigurationError` for bytes that are none.
    """

    def __init__(self, files: Iterable[bytes]) -> None:
        self._files: dict[str, _File] = {}
        self._symbols: dict[str, _File] = {}
        self._extensions: dict[str, dict[int, _File]] = {}
        codec = Codec()
        for data in dict.fromkeys(files):
            try:
                descriptor: FileDescriptor = codec.decode(data, FileDescriptor)
            except CodecError as error:
                raise ConfigurationError(f"a descriptor for server reflection is broken: {error}") from error
            if descriptor.name not in self._files:
                self._add(descriptor, data)

    def _add(self, descriptor: FileDescriptor, data: bytes) -> None:
        file = self._files[descriptor.name] = _File(descriptor.name, data, tuple(descriptor.dependency))
        for symbol in _symbols(descriptor):
            self._symbols.setdefault(symbol, file)
        for extension in _extensions(descriptor):
            extended = self._extensions.setdefault(extension.extendee.removeprefix("."), {})
            extended.setdefault(extension.number, file)

    def by_name(self, name: str) -> str | None:
        """Return ``name`` if there is a file of that name."""
        return name if name in self._files else None

    def defining(self, symbol: str) -> str | None:
        """Return the name of the file that defines a full name, if there is one."""
        file = self._symbols.get(symbol)
        return None if file is None else file.name

    def extending(self, message: str, number: int) -> str | None:
        """Return the name of the file that defines an extension of ``message``, if there is one."""
        file = self._extensions.get(message, {}).get(number)
        return None if file is None else file.name

    def extension_numbers(self, message: str) -> list[int] | None:
        """Return the numbers of the extensions of a message, ascending; None if there is no such message."""
        if message in self._extensions:
            return sorted(self._extensions[message])
        return [] if message in self._symbols else None

    def with_imports(self, name: str, told: set[str]) -> list[bytes]:
        """Return the file ``name``, then those that it imports, directly or not, and that are not in ``told`` yet.

        All of them are in ``told`` afterwards. The file itself is returned even if it was told: it was asked for. An
        import that nobody described is left out.
        """
        found: list[bytes] = []
        seen = {name}
        waiting = [name]
        while waiting:
            file = self._files.get(waiting.pop(0))
            if file is None:
                continue
            if not found or file.name not in told:
                told.add(file.name)
                found.append(file.data)
            new = [imported for imported in file.imports if imported not in seen]
            seen.update(new)
            waiting += new
        return found

    def __repr__(self) -> str:
        extensions = sum(map(len, self._extensions.values()))
        return f"<FileIndex {len(self._files)} files, {len(self._symbols)} symbols, {extensions} extensions>"


def _symbols(file: FileDescriptor) -> Iterator[str]:
    """Yield the full names that a file defines; the values of an enum are named beside it, as protobuf has it."""
    prefix = f"{file.package}." if file.package else ""
    for message in file.message_type:
        yield from _symbols_of_message(message, prefix)
    for enum in file.enum_type:
        yield from _symbols_of_enum(enum, prefix)
    for service in file.service:
        yield from _symbols_of_service(service, prefix)
    for extension in file.extension:
        yield prefix + extension.name


def _symbols_of_message(message: MessageDescriptor, prefix: str) -> Iterator[str]:
    yield prefix + message.name
    inside = f"{prefix}{message.name}."
    for field in (*message.field, *message.extension):
        yield inside + field.name
    for oneof in message.oneof_decl:
        yield inside + oneof.name
    for enum in message.enum_type:
        yield from _symbols_of_enum(enum, inside)
    for nested in message.nested_type:
        yield from _symbols_of_message(nested, inside)


def _symbols_of_enum(enum: EnumDescriptor, prefix: str) -> Iterator[str]:
    yield prefix + enum.name
    for value in enum.value:
        yield prefix + value.name


def _symbols_of_service(service: ServiceDescriptor, prefix: str) -> Iterator[str]:
    yield prefix + service.name
    for method in service.method:
        yield f"{prefix}{service.name}.{method.name}"


def _extensions(file: FileDescriptor) -> Iterator[FieldDescriptor]:
    yield from file.extension
    for message in file.message_type:
        yield from _extensions_of_message(message)


def _extensions_of_message(message: MessageDescriptor) -> Iterator[FieldDescriptor]:
    yield from message.extension
    for nested in message.nested_type:
        yield from _extensions_of_message(nested)
