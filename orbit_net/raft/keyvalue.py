"""A replicated dictionary: an example of a state machine, and what the demo and the tests replicate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orbit_net.raft.commands import UserCommand

if TYPE_CHECKING:
    from orbit_net.raft.commands import RaftCommand
    from orbit_net.raft.consensus import RaftConsensus

__all__ = ["KeyValueStore", "ReplicatedKeyValue"]


class KeyValueStore:
    """The state machine: strings to JSON values, by the commands ``Put``, ``Delete`` and ``CompareAndSet``."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def apply(self, index: int, command: RaftCommand) -> Any:
        """Apply one command; others than ours change nothing."""
        match command:
            case UserCommand({"Put": {"key": str(key), "value": value}}):
                self.values[key] = value
            case UserCommand({"Delete": {"key": str(key)}}):
                return self.values.pop(key, None)
            case UserCommand({"CompareAndSet": {"key": str(key), "expected": expected, "value": value}}):
                if self.values.get(key) != expected:
                    return False
                self.values[key] = value
                return True
        return None

    def snapshot(self) -> bytes:
        """Return all values as JSON."""
        return json.dumps(self.values).encode()

    def restore(self, data: bytes) -> None:
        """Replace all values."""
        self.values = json.loads(data)


class ReplicatedKeyValue:
    """What clients on the leader's node use. Each method raises as :meth:`RaftConsensus.propose` does."""

    def __init__(self, consensus: RaftConsensus, store: KeyValueStore) -> None:
        self._consensus = consensus
        self._store = store

    async def put(self, key: str, value: Any) -> int:
        """Set a value; return the index of the entry."""
        applied = await self._consensus.propose(UserCommand({"Put": {"key": key, "value": value}}))
        return applied.index

    async def delete(self, key: str) -> Any:
        """Remove a key; return what it had."""
        return (await self._consensus.propose(UserCommand({"Delete": {"key": key}}))).result

    async def compare_and_set(self, key: str, expected: Any, value: Any) -> bool:
        """Set a value if it is ``expected`` (None: absent); return whether it was."""
        command = UserCommand({"CompareAndSet": {"key": key, "expected": expected, "value": value}})
        return bool((await self._consensus.propose(command)).result)

    async def get(self, key: str) -> Any:
        """Return the value, as new as any write that ended before this call."""
        await self._consensus.read_index()
        return self._store.values.get(key)
