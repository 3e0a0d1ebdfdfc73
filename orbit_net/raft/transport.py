"""How messages get to other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import TaskStatus

    from orbit_net.model import NodeId
    from orbit_net.raft.messages import (
        AppendEntriesRequest,
        AppendEntriesResponse,
        Message,
        VoteRequest,
        VoteResponse,
    )

__all__ = ["RaftTransport", "Receiver"]


class Receiver(Protocol):
    """Where a transport delivers; neither call waits."""

    def receive(self, message: Message) -> None:
        """Take a message that came from another node."""
        ...

    def unreachable(self, node: str) -> None:
        """Take note that messages to a node, or a snapshot, were lost."""
        ...


class RaftTransport(Protocol):
    """Sends messages to nodes by their id; the names of nodes inside messages are ``str(NodeId)``.

    A transport never retries: Raft sends again what matters, and an old request is worse than none.
    """

    async def run(self, receiver: Receiver, *, task_status: TaskStatus[None]) -> None:
        """Deliver to ``receiver`` until cancelled."""
        ...

    def send(self, message: Message) -> None:
        """Send to ``message.target``, in order, without waiting; drop what cannot be sent."""
        ...

    def update_node_address(self, node_id: NodeId, address: str) -> None:
        """Reach a node at this address from now on."""
        ...

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        """Ask one node for its vote and wait for the answer; raises an :class:`OrbitError` when there is none."""
        ...

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        """Hand entries to one node and wait for the answer; raises an :class:`OrbitError` when there is none."""
        ...

    async def broadcast_heartbeat(
        self, nodes: Iterable[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        """Send the same to several nodes at the same time; return the answers of those that answered."""
        ...
