"""Which file defines what, and in which order files are told; google.protobuf is the other opinion."""

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from orbit_net.errors import ConfigurationError
from orbit_net.proto.etcdserverpb.services_descriptors import FILES as ETCD
from orbit_net.proto.orbit.shared.services_descriptors import FILES as SHARED
from orbit_net.reflection.index import FileIndex

DESCRIPTOR = descriptor_pb2.DESCRIPTOR.serialized_pb


def _symbols(file):
    """Yield the full names in a file of google.protobuf, as its pool knows them."""
    for message in file.message_types_by_name.values():
        yield from _of_message(message)
    for enum in file.enum_types_by_name.values():
        yield from _of_enum(enum, file.package)
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    yield from (extension.full_name for extension in file.extensions_by_name.values())


def _of_message(message):
    yield message.full_name
    for member in (*message.fields, *message.oneofs, *message.extensions):
        yield member.full_name
    for enum in message.enum_types:
        yield from _of_enum(enum, message.full_name)
    for nested in message.nested_types:
        yield from _of_message(nested)


def _of_enum(enum, scope):
    yield enum.full_name
    yield from (f"{scope}.{value.name}" for value in enum.values)


@pytest.mark.parametrize("files", [ETCD, SHARED, (DESCRIPTOR,)], ids=["etcd", "shared", "descriptor"])
def test_every_symbol_leads_to_its_file(files):
    """Messages, fields, oneofs, enums, values, services, methods and extensions are found, and nothing else."""
    pool = DescriptorPool()
    index = FileIndex(files)
    expected = {}
    for data in files:
        file = FileDescriptorProto.FromString(data)
        pool.AddSerializedFile(data)
        for symbol in _symbols(pool.FindFileByName(file.name)):
            expected[symbol] = file.name
    assert {symbol: index.defining(symbol) for symbol in index._symbols} == expected
    assert len(expected) > 50
    assert index.defining("no.Such") is None


def _file(name, *imports, extendee=None, numbers=()):
    file = FileDescriptorProto(name=name, package="p", dependency=imports)
    for number in numbers:
        file.extension.add(name=f"e{number}", number=number, extendee=extendee)
    return file.SerializeToString()


def test_imports_come_after_the_file_and_once():
    """A file, its imports, and theirs, nearest first; what was told is not told again, unless it is asked for."""
    a, b, c, d = (_file("a", "b", "c"), _file("b", "d"), _file("c", "d", "b"), _file("d"))
    index = FileIndex([d, a, c, b])
    told = set()
    assert index.with_imports("b", told) == [b, d]
    assert index.with_imports("a", told) == [a, c]
    assert told == {"a", "b", "c", "d"}
    assert index.with_imports("d", told) == [d]
    assert index.with_imports("a", set()) == [a, b, c, d]


def test_many_paths_to_one_file_cost_no_more():
    """A ladder in which the number of paths doubles with each step is walked once."""
    files = [_file(f"{number}{side}", f"{number + 1}l", f"{number + 1}r") for number in range(40) for side in "lr"]
    index = FileIndex([_file("top", "0l", "0r"), *files])
    assert len(index.with_imports("top", set())) == 81


def test_an_import_that_nobody_described():
    """A missing import is left out; the client will ask for it, and learn that it is not there."""
    file = _file("a", "missing")
    assert FileIndex([file]).with_imports("a", set()) == [file]


def test_of_two_files_with_one_name_the_first_counts():
    """The same file may come with several packages, and not always from the same protoc."""
    first, second = _file("a", extendee=".p.M", numbers=[1]), _file("a", extendee=".p.M", numbers=[2])
    index = FileIndex([first, second])
    assert index.extension_numbers("p.M") == [1]
    assert index.with_imports("a", set()) == [first]
    assert repr(index) == "<FileIndex 1 files, 1 symbols, 1 extensions>"


def test_extensions():
    """Extensions lead to their file by the message that they extend, wherever that is defined."""
    inside = FileDescriptorProto(name="b", package="p")
    inside.message_type.add(name="Outer").nested_type.add(name="Inner").extension.add(
        name="e", number=7, extendee=".q.M"
    )
    index = FileIndex([_file("a", extendee=".q.M", numbers=[9, 3]), inside.SerializeToString()])
    assert index.extension_numbers("q.M") == [3, 7, 9]
    assert [index.extending("q.M", number) for number in (3, 7, 9, 4)] == ["a", "b", "a", None]
    assert index.extension_numbers("p.Outer") == []
    assert index.extension_numbers("p.None") is None
    assert index.defining("p.Outer.Inner.e") == "b"


def test_broken_files():
    """Bytes that are no descriptor are refused with what is wrong."""
    with pytest.raises(ConfigurationError, match="a descriptor for server reflection is broken: "):
        FileIndex([b"\x0a\xff"])
