"""Entries, memberships and snapshots as bytes: for storage, and for what the wire has no words for."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Final

from orbit_net.errors import DecodeError
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["decode_entries", "decode_membership", "encode_entries", "encode_membership"]

_HEAD: Final = struct.Struct("<QQqII")
"""Index, term, timestamp, bytes of the command, bytes of the membership."""


def encode_membership(membership: Membership | None) -> bytes:
    """Return JSON, or nothing for None."""
    if membership is None:
        return b""
    fields = {
        "voters": sorted(membership.voters),
        "learners": sorted(membership.learners),
        "outgoing": sorted(membership.outgoing),
        "next_learners": sorted(membership.next_learners),
        "addresses": dict(membership.addresses),
    }
    return json.dumps({name: value for name, value in fields.items() if value}).encode()


def decode_membership(data: bytes) -> Membership | None:
    """Read what :func:`encode_membership` wrote; raises :class:`DecodeError`."""
    if not data:
        return None
    try:
        fields = json.loads(data)
        return Membership(
            frozenset(fields.get("voters", ())),
            frozenset(fields.get("learners", ())),
            frozenset(fields.get("outgoing", ())),
            frozenset(fields.get("next_learners", ())),
            tuple(sorted(fields.get("addresses", {}).items())),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise DecodeError(f"{data[:100]!r} is not a membership") from error


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Return the bytes of entries, one after the other."""
    parts: list[bytes] = []
    for entry in entries:
        membership = encode_membership(entry.membership)
        parts += (
            _HEAD.pack(entry.index, entry.term, entry.timestamp, len(entry.command), len(membership)),
            entry.command,
            membership,
        )
    return b"".join(parts)


def decode_entries(data: bytes) -> list[Entry]:
    """Read what :func:`encode_entries` wrote; raises :class:`DecodeError`."""
    entries = []
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise DecodeError(f"an entry is cut at byte {at} of {len(data)}")
        index, term, timestamp, commands, memberships = _HEAD.unpack_from(data, at)
        middle = at + _HEAD.size + commands
        at = middle + memberships
        if at > len(data):
            raise DecodeError(f"the entry {index} is cut at byte {len(data)}")
        command = bytes(data[middle - commands : middle])
        entries.append(Entry(term, index, command, decode_membership(data[middle:at]), timestamp))
    return entries
