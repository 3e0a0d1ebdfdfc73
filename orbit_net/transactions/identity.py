"""The identity of a transaction, and the form of an actor's name that a transaction carries."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID, uuid4

from orbit_net.errors import ConfigurationError
from orbit_net.model import AddressableReference, NodeId, NoKey, StringKey, key_from_text

if TYPE_CHECKING:
    from random import Random

__all__ = ["TransactionId", "as_text"]

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INT64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class TransactionId:
    """One transaction: a UUID, the node that coordinates it, and when that node began it, in ms since 1970.

    The coordinator is the one whom a participant in doubt asks. ``created_at`` is the time of that node's clock, and is
    compared only with others of the same node.
    """

    id: str
    coordinator: NodeId
    created_at: int

    def __post_init__(self) -> None:
        given: Any = self.id
        text = given.lower() if isinstance(given, str) else ""
        if _UUID.fullmatch(text) is None:
            raise ConfigurationError(f"TransactionId.id is {self.id!r}; it must be a UUID in its text form")
        object.__setattr__(self, "id", text)
        if not isinstance(self.coordinator, NodeId):
            raise ConfigurationError(f"TransactionId.coordinator is {self.coordinator!r}; it must be a NodeId")
        if type(self.created_at) is not int or not 0 <= self.created_at < _INT64:
            raise ConfigurationError(f"TransactionId.created_at is {self.created_at!r}; it must be ms from 0 to 2⁶³-1")

    @classmethod
    def generate(cls, coordinator: NodeId, *, now_ms: int | None = None, random: Random | None = None) -> Self:
        """Return a new id of ``coordinator``; by the given clock and chance where a test wants to know it."""
        uuid = uuid4() if random is None else UUID(int=random.getrandbits(128), version=4)
        return cls(str(uuid), coordinator, int(time.time() * 1_000) if now_ms is None else now_ms)

    def __hash__(self) -> int:
        return hash(self.id)  # unique by itself, and a third of the time

    def __str__(self) -> str:
        return f"{self.id}@{self.coordinator}"


def as_text(reference: AddressableReference) -> AddressableReference:
    """Return an actor's name as a transaction carries it: the kind of its key is lost, ``no-key`` aside.

    A number 42 and the text ``42`` are the same there, so participants are told apart in this form only.
    """
    key = reference.key
    if isinstance(key, NoKey) or (isinstance(key, StringKey) and key.value != "no-key"):
        return reference
    return AddressableReference(reference.addressable_type, key_from_text(str(key)))
