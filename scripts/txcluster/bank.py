"""Accounts that remember their transfers, the service by which clients move money, and its client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from grpclib.const import Cardinality, Handler

from orbit_net.client import Stub
from orbit_net.errors import TransactionAborted, TransactionRefused
from orbit_net.model import AddressableReference, StringKey
from orbit_net.server import Service
from orbit_net.transactions import TransactionNode, TransactionOperation

INITIAL = 1_000
_TRANSFER, _STATES, _ARM, _OPEN = (f"/orbit.example.Bank/{name}" for name in ("Transfer", "States", "Arm", "Open"))


class JsonCodec:
    """Messages are JSON."""

    __content_subtype__ = "json"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Write JSON."""
        return json.dumps(message, separators=(",", ":")).encode()

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Read JSON."""
        return json.loads(data)


def account(node: str, number: int) -> AddressableReference:
    """Name an account, which lives on a node by its type."""
    return AddressableReference(f"Account-{node}", StringKey(str(number)))


class BankAccount:
    """A balance that must not fall below nothing, and the transfers that made it: ``remember`` says how many."""

    def __init__(self, remember: int = 1_000_000) -> None:
        self._remember = remember

    def initial(self, actor: AddressableReference) -> dict[str, Any]:
        """Begin with the same money everywhere."""
        return {"balance": INITIAL, "transfers": []}

    def apply(self, state: dict[str, Any], operation: TransactionOperation) -> dict[str, Any]:
        """Credit or debit."""
        amount = operation.data["amount"] * (1 if operation.operation_type == "credit" else -1)
        if state["balance"] + amount < 0:
            raise TransactionRefused("not enough money")
        transfers = [*state["transfers"], operation.data["transfer"]][-self._remember :] if self._remember else []
        return {"balance": state["balance"] + amount, "transfers": transfers}


async def move(node: TransactionNode, transfer: str, moves: list[tuple[AddressableReference, int]]) -> str:
    """Change several accounts by one transaction; return COMMITTED, COMMITTING or ABORTED."""
    try:
        async with node.coordinator.transaction() as transaction:
            for target, amount in moves:
                kind = "credit" if amount > 0 else "debit"
                await transaction.add_operation(target, kind, {"amount": abs(amount), "transfer": transfer})
    except TransactionAborted:
        return "ABORTED"
    assert transaction.state is not None
    return transaction.state.kind.name


class BankService(Service):
    """What a node offers to clients. ``arm`` takes the moment at which the node is to die."""

    def __init__(self, name: str, node: TransactionNode, accounts: int, arm: Callable[[str], None]) -> None:
        self._name, self._node, self._accounts, self._arm = name, node, accounts, arm

    async def transfer(self, request: dict[str, Any]) -> str:
        """Move money."""
        moves = [(account(*name), amount) for name, amount in request["moves"]]
        return await move(self._node, request["transfer"], moves)

    async def states(self, request: Any) -> dict[str, Any]:
        """Return the state of each account of this node."""
        return {
            f"{self._name}/{number}": self._node.state(account(self._name, number)) for number in range(self._accounts)
        }

    async def arm(self, request: str) -> str:
        """Die at a moment."""
        self._arm(request)
        return request

    async def open(self, request: Any) -> int:
        """Return how many transactions are not over here, as coordinator or participant."""
        return self._node.participants.in_doubt + self._node.coordinator.under_way

    def __mapping__(self) -> dict[str, Handler]:
        """Return the handlers."""
        methods = {_TRANSFER: self.transfer, _STATES: self.states, _ARM: self.arm, _OPEN: self.open}
        return {
            path: Handler(self._unary_unary(method), Cardinality.UNARY_UNARY, dict, dict)
            for path, method in methods.items()
        }


class BankStub(Stub):
    """Calls a :class:`BankService`."""

    async def transfer(self, transfer: str, moves: list[tuple[tuple[str, int], int]], *, timeout: float) -> str:
        """Move money."""
        return await self._unary_unary(_TRANSFER, {"transfer": transfer, "moves": moves}, dict, timeout=timeout)  # type: ignore[return-value]

    async def states(self, *, timeout: float) -> dict[str, Any]:
        """Return the states of the accounts."""
        return await self._unary_unary(_STATES, None, dict, timeout=timeout)

    async def arm(self, moment: str, *, timeout: float) -> None:
        """Have the node die at a moment."""
        await self._unary_unary(_ARM, moment, dict, timeout=timeout)

    async def open(self, *, timeout: float) -> int:
        """Return how many transactions are not over there."""
        return await self._unary_unary(_OPEN, None, dict, timeout=timeout)  # type: ignore[return-value]
