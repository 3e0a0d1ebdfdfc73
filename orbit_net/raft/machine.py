"""What users give: a state machine, and someone who wants to know who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orbit_net.model import NodeId
    from orbit_net.raft.commands import RaftCommand

__all__ = ["NoStateMachine", "RaftEventHandler", "StateMachine"]


class StateMachine(Protocol):
    """The state that is the same on every node, because each applies the same commands in the same order.

    The methods run in the driver's task: they must not wait, and must depend on nothing but their arguments.
    """

    def apply(self, index: int, command: RaftCommand) -> Any:
        """Apply a committed command; what is returned, or raised, goes to who proposed it."""
        ...

    def snapshot(self) -> bytes:
        """Return the whole state; a copy, for it is written in the background."""
        ...

    def restore(self, data: bytes) -> None:
        """Replace the whole state by a snapshot."""
        ...


class NoStateMachine:
    """Remembers nothing: for a cluster that only wants a leader."""

    def apply(self, index: int, command: RaftCommand) -> None:
        """Do nothing."""

    def snapshot(self) -> bytes:
        """Return nothing."""
        return b""

    def restore(self, data: bytes) -> None:
        """Do nothing."""


class RaftEventHandler:
    """Told, in order, of what changes; override what matters. Exceptions are logged and go no further.

    The calls come from a task of their own, so they may wait; while one waits the next ones queue, 256 at the most.
    """

    async def on_leader_elected(self, leader: NodeId, term: int) -> None:
        """A leader is known, this node or another."""

    async def on_leader_lost(self, leader: NodeId, term: int) -> None:
        """``leader`` does not lead any more, or is not heard."""

    async def on_term_changed(self, term: int) -> None:
        """A new term has begun."""
