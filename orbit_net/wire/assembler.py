"""Length-prefixed messages out of DATA payloads (PROTOCOL-HTTP2, "Length-Prefixed-Message").

A message may span frames and a frame may hold many messages. Whole messages are sliced out of the received chunk, the
only copy of their bytes; a message that spans chunks is kept as views and joined once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from grpclib.const import Status

__all__ = ["PREFIX_SIZE", "Assembler", "CompressedMessage", "MessageError", "pack_prefix"]

PREFIX_SIZE: Final = 5

_CRUMB: Final = 1_024

_PREFIX = Struct(">BI")

pack_prefix = _PREFIX.pack
"""``pack_prefix(compressed, length)`` → the five bytes before a message."""

_unpack_prefix = _PREFIX.unpack_from


class CompressedMessage(bytes):
    """A message whose compressed flag is set: inflated by whoever takes it, and sent with the flag."""

    __slots__ = ()


class MessageError(Exception):
    """The stream of messages cannot go on; the call ends with ``status``. Users never see it."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Assembler:
    """Collects the messages of one direction of one stream.

    Invariant: ``missing`` is the number of bytes that the message under way still lacks, 0 between messages, and its
    size was checked against ``limit`` before its first byte was kept.
    """

    __slots__ = ("_chunks", "_compressed", "_prefix", "compression_allowed", "limit", "missing")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.missing = 0
        self.compression_allowed = False
        self._prefix = b""
        self._chunks: list[bytearray | memoryview] = []
        self._compressed = False

    @property
    def between_messages(self) -> bool:
        """Whether the stream may end here."""
        return not self.missing and not self._prefix

    def feed(self, data: bytes, position: int, end: int, messages: list[bytes]) -> None:
        """Append to ``messages`` every message that ``data[position:end]`` completes.

        Raises :class:`MessageError` for a message over the limit or a wrong compressed flag; what came before it has
        been appended.
        """
        if self.missing or self._prefix:
            position = self._resume(data, position, end, messages)
        limit = self.limit
        while end - position >= PREFIX_SIZE:
            flag, length = _unpack_prefix(data, position)
            if flag or length > limit:
                self._check(flag, length)
            start = position + PREFIX_SIZE
            position = start + length
            if position > end:
                self._compressed = flag == 1
                self.missing = length
                self._keep(data, start, end)
                return
            messages.append(CompressedMessage(data[start:position]) if flag else data[start:position])
        if position < end:
            self._prefix = data[position:end]

    def _check(self, flag: int, length: int) -> None:
        if length > self.limit:
            text = f"a message of {length} bytes is larger than the limit of {self.limit}"
            raise MessageError(Status.RESOURCE_EXHAUSTED, text)
        if flag > 1:
            raise MessageError(Status.INTERNAL, f"the compressed flag of a message is {flag}, not 0 or 1")
        if not self.compression_allowed:
            raise MessageError(Status.INTERNAL, "a message is marked as compressed without a grpc-encoding header")

    def _resume(self, data: bytes, position: int, end: int, messages: list[bytes]) -> int:
        """Finish the prefix and the message that an earlier chunk began; return where the next message starts."""
        if self._prefix:
            wanted = PREFIX_SIZE - len(self._prefix)
            self._prefix += data[position : min(end, position + wanted)]
            position += wanted
            if len(self._prefix) < PREFIX_SIZE:
                return end
            flag, length = _unpack_prefix(self._prefix)
            self._prefix = b""
            self._check_if_needed(flag, length)
            self._compressed = flag == 1
            self.missing = length
        stop = min(end, position + self.missing)
        self._keep(data, position, stop)
        if not self.missing:
            whole = b"".join(self._chunks)
            self._chunks = []
            messages.append(CompressedMessage(whole) if self._compressed else whole)
        return stop

    def _check_if_needed(self, flag: int, length: int) -> None:
        if flag or length > self.limit:
            self._check(flag, length)

    def _keep(self, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        if size:
            # A view keeps the whole received chunk alive, and is an object of 200 bytes itself. A peer that sends a
            # message in crumbs would make us hold many times its size: small pieces are gathered instead.
            view = memoryview(data)[start:stop]
            if size >= _CRUMB and size * 4 >= len(data):
                self._chunks.append(view)
            elif self._chunks and type(self._chunks[-1]) is bytearray:
                self._chunks[-1] += view
            else:
                self._chunks.append(bytearray(view))
            self.missing -= size
