"""What a coordinator tells of one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbit_net.model import AddressableReference
    from orbit_net.transactions.messages import TransactionState

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """How a transaction stands, and who takes part; ``updated_at`` in milliseconds since 1970."""

    state: TransactionState
    participants: tuple[AddressableReference, ...]
    updated_at: int
