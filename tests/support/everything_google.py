"""google.protobuf's classes of everything.proto, from its committed descriptor."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from google.protobuf import (  # noqa: F401 - imported files must be in the pool
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

_FILE = Path(__file__).parent / "everything" / "everything.binpb"

__all__ = ["google"]


def _classes() -> SimpleNamespace:
    pool = descriptor_pool.Default()
    [file] = descriptor_pb2.FileDescriptorSet.FromString(_FILE.read_bytes()).file
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindFileByName(file.name)
    return SimpleNamespace(
        **{name: message_factory.GetMessageClass(each) for name, each in found.message_types_by_name.items()}
    )


google = _classes()
