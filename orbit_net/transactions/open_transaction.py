"""A transaction as its owner has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from orbit_net.transactions.messages import TransactionOperation

if TYPE_CHECKING:
    from orbit_net.model import AddressableReference
    from orbit_net.transactions.identity import TransactionId
    from orbit_net.transactions.messages import TransactionState

__all__ = ["OpenTransaction"]


class _Coordinator(Protocol):
    async def add_operation(self, transaction_id: TransactionId, operation: TransactionOperation) -> None: ...


class OpenTransaction:
    """A transaction that collects operations. ``state`` is how it ended, once its block was left well."""

    def __init__(self, coordinator: _Coordinator, identity: TransactionId) -> None:
        self.id = identity
        self.state: TransactionState | None = None
        self._coordinator = coordinator

    async def add_operation(
        self, target: AddressableReference, operation_type: str, data: Any = None, *, compensation: Any = None
    ) -> TransactionOperation:
        """Add an operation with an id of its own, and return it. Raises as the coordinator's method does."""
        operation = TransactionOperation(str(uuid4()), target, operation_type, data, compensation)
        await self._coordinator.add_operation(self.id, operation)
        return operation

    def __repr__(self) -> str:
        return f"<OpenTransaction {self.id}>"
