"""Header blocks: HPACK by the ``hpack`` package, and what makes it cheap for gRPC.

Nearly every call of a connection sends the same few header lists. So the constant part of a list is a
:class:`HeaderTemplate` whose encoded bytes are kept, and a received block that has been decoded before is not decoded
again. Both memories are valid only while the dynamic table that they refer to has not changed; it changes a few dozen
times in a connection's life, because everything that varies (metadata, timeouts) travels as a literal that is never
added to the table, and templates are added only while there is room (RFC 7541 §2.3.2: an insertion into a full table
evicts, and would invalidate every index that we remember).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import hpack
from h2.errors import ErrorCodes
from hpack.hpack import encode_integer

from orbit_net.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpack.table import HeaderTable

__all__ = ["Field", "HeaderBlock", "HeaderDecoder", "HeaderEncoder", "HeaderTemplate", "list_size"]

Field = tuple[bytes, bytes]
"""One header: name and value, both bytes, the name in lower case."""

MAX_TABLE_SIZE: Final = 4096
"""Bytes of dynamic table that we use or let the peer use (RFC 7541 §4.1; the protocol's own default)."""

_ENTRY_OVERHEAD: Final = 32  # RFC 7541 §4.1
_REMEMBERED_BLOCKS: Final = 128
_REMEMBERED_SIZE: Final = 512

# Values that must never be entered into a table, ours or a proxy's (RFC 7541 §7.1.3).
_SECRET: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie", b"x-api-key"})

# Connection-specific fields have no place in HTTP/2 (RFC 9113 §8.2.2).
_FORBIDDEN: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_BAD_VALUE = re.compile(rb"[\0\r\n]").search


def list_size(fields: Sequence[Field]) -> int:
    """Return the size of a header list as HTTP/2 counts it (RFC 9113 §6.5.2): names, values and 32 bytes a field."""
    return sum(len(name) + len(value) for name, value in fields) + _ENTRY_OVERHEAD * len(fields)


class HeaderTemplate:
    """A header list that is sent again and again; compared by identity, so make one and keep it.

    Fields that vary go behind it, or, when they must come early, between its pseudo headers and the rest.
    """

    __slots__ = ("fields", "pseudo", "size")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.pseudo = sum(name[:1] == b":" for name, _ in self.fields)
        self.size = list_size(self.fields)

    def __repr__(self) -> str:
        return f"<HeaderTemplate {b', '.join(name for name, _ in self.fields).decode('latin-1')}>"


class HeaderBlock:
    """A received header list.

    ``pseudo`` holds the fields whose names begin with a colon, ``fields`` the others in order; ``fault`` says what
    makes the list malformed (RFC 9113 §8.2), or is None. ``encoding`` is that of compressed messages, None for
    ``identity`` too, ``content_length`` the size of the body where the peer gave it, ``ok`` whether ``grpc-status`` is
    0. ``parsed`` is for the layer above: equal blocks are the same object while the table is unchanged, so what was
    concluded from one holds for the next.
    """

    __slots__ = ("content_length", "encoding", "fault", "fields", "ok", "parsed", "pseudo", "size")

    def __init__(self, fields: Sequence[Field], size: int) -> None:
        self.size = size
        self.parsed: Any = None
        self.pseudo: dict[bytes, bytes] = {}
        self.fields: list[Field] = []
        self.fault: str | None = None
        self.content_length: int | None = None
        for name, value in fields:
            self._add(name, value)
        self.ok = self.get(b"grpc-status") == b"0"
        encoding = self.get(b"grpc-encoding")
        self.encoding = None if encoding in (None, b"identity") else encoding.decode("latin-1")

    def _add(self, name: bytes, value: bytes) -> None:
        if name[:1] == b":":
            if self.fields or name in self.pseudo:
                self.fault = f"pseudo header {name!r} is repeated or follows a regular field"
            self.pseudo[name] = value
        else:
            if _NAME(name) is None:
                self.fault = f"header name {name[:64]!r} is empty or has a character outside RFC 9113 §8.2.1"
            elif name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
                self.fault = f"connection-specific header {name!r}"
            elif name == b"content-length":
                self._measure(value)
            self.fields.append((name, value))
        if _BAD_VALUE(value) is not None:
            self.fault = f"the value of header {name[:64]!r} has a NUL, CR or LF"

    def _measure(self, value: bytes) -> None:
        """Take a content-length; several have to agree (RFC 9110 §8.6)."""
        if not value.isdigit() or len(value) > 18 or self.content_length not in (None, int(value)):
            self.fault = f"the content-length is {value[:64]!r}"
        else:
            self.content_length = int(value)

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of ``name``, or None."""
        for key, value in self.fields:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        names = b", ".join([*self.pseudo, *(name for name, _ in self.fields)])
        return f"<HeaderBlock {names.decode('latin-1')}>"


class HeaderEncoder:
    """Encodes our header lists for one connection. Call it in the order in which the blocks are sent."""

    __slots__ = ("_encoded", "_encoder")

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._encoded: dict[HeaderTemplate, tuple[bytes, bytes]] = {}

    def limit_table(self, peer_limit: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE, up to our own limit."""
        size = min(peer_limit, MAX_TABLE_SIZE)
        if size != self._encoder.header_table_size:
            self._encoder.header_table_size = size
            self._encoded.clear()
            # Only the smallest and the last may be said: one between them may be above the limit that now holds.
            due = self._encoder.table_size_changes
            due[:] = [min(due), size] if min(due) < size else [size]

    def encode(self, template: HeaderTemplate, extra: Sequence[Field] = (), early: Sequence[Field] = ()) -> bytes:
        """Return the block of the template's pseudo headers, ``early``, its other fields and ``extra``, in this order.

        What is not in the template stays out of the table.
        """
        pseudo, rest = self._encoded.get(template) or self._encode_template(template)
        if not extra and not early:
            return pseudo + rest
        return b"".join(
            (pseudo, *[_literal(name, value) for name, value in early], rest, *[_literal(n, v) for n, v in extra])
        )

    def _encode_template(self, template: HeaderTemplate) -> tuple[bytes, bytes]:
        update = self._encoder.encode(())  # a change of the table size that is due: said once, so not remembered
        table = self._encoder.header_table
        before = _mark(table)
        room = table.maxsize - list_size(tuple(table.dynamic_entries))
        fields: list[tuple[bytes, bytes, bool]]
        if template.size <= room or before[0] == 0:
            fields = [(name, value, name in _SECRET) for name, value in template.fields]
        else:
            # hpack indexes whatever is not sensitive. Without room, what is in a table already is still referred to.
            fields = [(name, value, not _is_indexed(table, name, value)) for name, value in template.fields]
        block = self._encoder.encode(fields[: template.pseudo]), self._encoder.encode(fields[template.pseudo :])
        if _unchanged(table, before):
            self._encoded[template] = block
        else:
            self._encoded.clear()
        return (update + block[0], block[1]) if update else block


class HeaderDecoder:
    """Decodes the peer's blocks of one connection, in the order of their arrival.

    A list over ``max_list_size`` bytes, or a block that is not HPACK, ends the connection: the table is out of step.
    """

    __slots__ = ("_decoder", "_known")

    def __init__(self, max_list_size: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_list_size)
        self._decoder.max_allowed_table_size = MAX_TABLE_SIZE
        self._known: dict[bytes, HeaderBlock] = {}

    def decode(self, block: bytes) -> HeaderBlock:
        """Return the list of one block; raises :class:`RemoteProtocolError` when it cannot be read."""
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = _mark(table)
        try:
            fields = tuple(self._decoder.decode(block, raw=True))
        except hpack.OversizedHeaderListError as error:
            raise RemoteProtocolError(str(error), ErrorCodes.ENHANCE_YOUR_CALM) from error
        except (hpack.HPACKError, IndexError) as error:
            # Not its text: that may show the address of a buffer, and the peer gets to read this.
            reason = f"a header block that is not HPACK: {type(error).__name__}"
            raise RemoteProtocolError(reason, ErrorCodes.COMPRESSION_ERROR) from error
        decoded = HeaderBlock(fields, list_size(fields))
        if not _unchanged(table, before):
            self._known.clear()
        elif len(block) <= _REMEMBERED_SIZE:
            if len(self._known) >= _REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[block] = decoded
        return decoded


def _mark(table: HeaderTable) -> tuple[int, Field | None, int]:
    """Return what :func:`_unchanged` compares: length, newest entry and capacity of a dynamic table."""
    entries = table.dynamic_entries
    return len(entries), entries[0] if entries else None, table.maxsize


def _unchanged(table: HeaderTable, mark: tuple[int, Field | None, int]) -> bool:
    """Whether nothing was inserted, evicted or resized since ``mark``.

    Every insertion puts a new tuple in front, so the identity of the front tells, as long as the mark keeps the old one
    alive; equality would not, because the same field can be inserted twice.
    """
    length, front, capacity = _mark(table)
    return front is mark[1] and length == mark[0] and capacity == mark[2]


def _is_indexed(table: HeaderTable, name: bytes, value: bytes) -> bool:
    match = table.search(name, value)
    return match is not None and match[2] is not None


def _length(number: int) -> bytes:
    return bytes((number,)) if number < 127 else bytes(encode_integer(number, 7))


def _literal(name: bytes, value: bytes) -> bytes:
    """Encode a field that enters no table; a secret says so to every proxy on the way (RFC 7541 §6.2.2, §6.2.3)."""
    first = b"\x10" if name in _SECRET else b"\x00"
    return first + _length(len(name)) + name + _length(len(value)) + value
