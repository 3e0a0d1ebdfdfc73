"""Append-only files of records, each with its length and its checksum."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Final

from orbit_net.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Segment", "pack", "read_records", "replace_file", "sync_directory", "unpack"]

_HEAD: Final = struct.Struct("<4sII")
"""Mark, length, CRC-32 of length and content."""
_MARK: Final = b"\xa7RfT"


def pack(content: bytes) -> bytes:
    """Return one record."""
    length = len(content)
    return _HEAD.pack(_MARK, length, zlib.crc32(content, length)) + content


def _record_at(data: bytes, at: int) -> bytes | None:
    """Return the content of the record at a place, or None when there is no whole and sound one."""
    if len(data) - at < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(data, at)
    content = data[at + _HEAD.size : at + _HEAD.size + length]
    sound = mark == _MARK and len(content) == length and zlib.crc32(content, length) == checksum
    return content if sound else None


def unpack(data: bytes, path: Path) -> bytes:
    """Read a file that holds one record; raises :class:`StorageError`."""
    content = _record_at(data, 0)
    if content is None or len(content) + _HEAD.size != len(data):
        raise StorageError(f"{path} is damaged: its checksum does not fit")
    return content


def read_records(path: Path, *, last: bool) -> tuple[list[bytes], int]:
    """Return the records of a segment and the length of its sound part.

    A record that was being written when the machine stopped is torn; it can only be the end of the last segment. A
    broken record with a sound one anywhere after it, or in an earlier segment, was acknowledged once: that raises
    :class:`StorageError`.
    """
    data = path.read_bytes()
    records: list[bytes] = []
    at = 0
    while at < len(data):
        content = _record_at(data, at)
        if content is None:
            if not last or any(_record_at(data, later) is not None for later in _marks(data, at + 1)):
                raise StorageError(f"{path} is damaged at byte {at} of {len(data)}, before its end: restore a copy")
            return records, at
        records.append(content)
        at += _HEAD.size + len(content)
    return records, at


def _marks(data: bytes, start: int) -> Iterator[int]:
    at = data.find(_MARK, start)
    while at >= 0:
        yield at
        at = data.find(_MARK, at + 1)


def sync_directory(directory: Path, sync: Callable[[int], None]) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, sync: Callable[[int], None]) -> None:
    """Write a file so that a crash leaves the old content or the new, whole."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(pack(content))
        file.flush()
        sync(file.fileno())
    new.replace(path)
    sync_directory(path.parent, sync)


class Segment:
    """One file of the log, open for appending. ``last`` is the highest index that it was ever given."""

    def __init__(self, path: Path, size: int = 0, last: int = 0) -> None:
        self.path = path
        self.size = size
        self.last = last
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, content: bytes, last: int, sync: Callable[[int], None]) -> None:
        """Add a record and wait until it is durable."""
        data = memoryview(pack(content))
        self.size += len(data)
        while data:
            data = data[self._file.write(data) :]
        sync(self._file.fileno())
        self.last = max(self.last, last)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
