"""Raft over gRPC: one link a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED

from orbit_net.client import Channel, ChannelSettings
from orbit_net.errors import ConfigurationError, NodeNotFound, OrbitError
from orbit_net.net import parse_target
from orbit_net.proto.orbit.consensus.services import RaftConsensusStub
from orbit_net.raft.link import Link, ask_append, ask_vote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from anyio.abc import TaskGroup, TaskStatus

    from orbit_net.model import NodeId
    from orbit_net.raft.messages import (
        AppendEntriesRequest,
        AppendEntriesResponse,
        Message,
        VoteRequest,
        VoteResponse,
    )
    from orbit_net.raft.transport import Receiver

__all__ = ["GrpcRaftTransport"]

T = TypeVar("T")


class GrpcRaftTransport:
    """Sends Raft's messages to other nodes, each over a channel of its own.

    ``node_addresses`` says where each is reached (targets as of :class:`Channel`); this node may be among them. A
    connection may take ``connect_timeout`` seconds; after ``request_timeout`` seconds without an answer it is given up
    and made anew. Messages to one node keep their order; to different nodes they do not wait for each other. What
    cannot be sent is dropped. A node that only has the two calls of Orbit-RS is served by them.
    """

    def __init__(
        self,
        node_id: NodeId,
        node_addresses: Mapping[NodeId, str],
        connect_timeout: float = 5.0,
        request_timeout: float = 10.0,
    ) -> None:
        for name, value in (("connect_timeout", connect_timeout), ("request_timeout", request_timeout)):
            if not value > 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds")
        self.node_id = node_id
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._addresses: dict[str, str] = {}
        self._links: dict[str, Link] = {}
        self._tasks: TaskGroup | None = None
        self._receiver: Receiver | None = None
        for peer, address in node_addresses.items():
            self.update_node_address(peer, address)

    async def run(self, receiver: Receiver, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Own the links until cancelled. Raises :class:`ConfigurationError` when it runs already."""
        if self._tasks is not None:
            raise ConfigurationError("a transport serves one RaftConsensus; make another")
        async with anyio.create_task_group() as self._tasks:
            self._receiver = receiver
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._links.clear()
                self._receiver = None

    def send(self, message: Message) -> None:
        """Send without waiting; drop what has no address."""
        link = self._links.get(message.target) or self._link(message.target)
        if link is not None:
            link.send(message)

    def _link(self, peer: str) -> Link | None:
        address = self._addresses.get(peer)
        if address is None or self._receiver is None or self._tasks is None:
            return None
        link = self._links[peer] = Link(
            str(self.node_id),
            peer,
            address,
            self._receiver,
            connect_timeout=self._connect_timeout,
            silence=self._request_timeout,
        )
        self._tasks.start_soon(link.run)
        return link

    def update_node_address(self, node_id: NodeId, address: str) -> None:
        """Reach a node at ``address`` from now on; an open connection to another one is replaced.

        Raises :class:`ConfigurationError` for a malformed address.
        """
        parse_target(address)
        peer = str(node_id)
        self._addresses[peer] = address
        if peer in self._links:
            self._links[peer].move(address)

    # --- the calls of Orbit-RS -------------------------------------------------------------------

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        """Ask for a vote over a connection of its own. Raises :class:`NodeNotFound`, :class:`RpcError`."""
        return await self._ask(target, lambda stub: ask_vote(stub, request, self._request_timeout))

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        """Hand over entries over a connection of its own. Raises :class:`NodeNotFound`, :class:`RpcError`."""
        return await self._ask(target, lambda stub: ask_append(stub, request, self._request_timeout))

    async def broadcast_heartbeat(
        self, nodes: Iterable[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        """Ask all ``nodes`` at the same time; those that do not answer are left out."""
        answers: list[AppendEntriesResponse] = []

        async def ask(node: NodeId) -> None:
            try:
                answers.append(await self.send_append_entries(node, request))
            except OrbitError:
                return

        async with anyio.create_task_group() as tasks:
            for node in nodes:
                tasks.start_soon(ask, node)
        return answers

    async def _ask(self, target: NodeId, call: Callable[[RaftConsensusStub], Awaitable[T]]) -> T:
        address = self._addresses.get(str(target))
        if address is None:
            raise NodeNotFound(f"the address of {target} is not known")
        settings = ChannelSettings(connect_timeout=self._connect_timeout)
        async with Channel(address, settings=settings) as channel:
            return await call(RaftConsensusStub(channel))

    def __repr__(self) -> str:
        return f"<GrpcRaftTransport of {self.node_id} to {', '.join(sorted(self._addresses))}>"
