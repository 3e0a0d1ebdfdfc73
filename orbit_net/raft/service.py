"""``orbit.consensus.RaftConsensus``: what other nodes call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.errors import DecodeError, OrbitError
from orbit_net.proto.orbit.consensus.services import RaftConsensusBase
from orbit_net.raft.convert import (
    append_from_proto,
    append_response_to_proto,
    message_from_proto,
    message_to_proto,
    node_name,
    vote_from_proto,
    vote_response_to_proto,
)
from orbit_net.raft.encoding import decode_membership
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshot,
    Message,
    Snapshot,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from orbit_net.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from anyio.abc import TaskStatus

    from orbit_net.proto.orbit.consensus import (
        AppendEntriesRequestProto,
        AppendEntriesResponseProto,
        PeerMessageProto,
        SnapshotChunkProto,
        VoteRequestProto,
        VoteResponseProto,
    )
    from orbit_net.raft.consensus import RaftConsensus
    from orbit_net.server import ServerStream

__all__ = ["RaftService", "Replies", "start_raft_server"]

_REPLIES: Final = 256
_MAX_SNAPSHOT: Final = 1_073_741_824
_ASKED: Final = (VoteRequest, AppendEntriesRequest, TimeoutNow)


class Replies:
    """Answers on their way back over the call that the requests came by; a full row drops."""

    def __init__(self) -> None:
        self._row: deque[Message] = deque()
        self._more = anyio.Event()

    def put(self, message: Message) -> None:
        """Queue an answer."""
        if len(self._row) < _REPLIES:
            self._row.append(message)
            self._more.set()

    async def send_all(self, stream: ServerStream[PeerMessageProto, PeerMessageProto]) -> None:
        """Send what is queued, for as long as the call lives."""
        while True:
            while self._row:
                await stream.send_message(message_to_proto(self._row.popleft()))
            self._more = anyio.Event()
            await self._more.wait()


class RaftService(RaftConsensusBase):
    """Hands the messages of other nodes to ``consensus`` and its answers back.

    A request to a node that has stopped fails with UNAVAILABLE, a malformed one with INVALID_ARGUMENT.
    """

    def __init__(self, consensus: RaftConsensus) -> None:
        self._consensus = consensus
        self._node = str(consensus.node_id)

    async def request_vote(self, request: VoteRequestProto) -> VoteResponseProto:
        """Answer a candidate."""
        try:
            message = vote_from_proto(request, self._node)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        answer = await self._consensus.ask(message)
        assert isinstance(answer, VoteResponse)
        return vote_response_to_proto(answer)

    async def append_entries(self, request: AppendEntriesRequestProto) -> AppendEntriesResponseProto:
        """Answer a leader."""
        try:
            message = append_from_proto(request, self._node)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        answer = await self._consensus.ask(message)
        assert isinstance(answer, AppendEntriesResponse)
        return append_response_to_proto(answer)

    async def exchange(self, stream: ServerStream[PeerMessageProto, PeerMessageProto]) -> None:
        """Take in one node's messages until it ends the call."""
        replies = Replies()
        sender: str | None = None
        malformed: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(replies.send_all, stream)
                async for proto in stream:
                    message = message_from_proto(proto, self._node)
                    if isinstance(message, _ASKED) and sender is None:
                        sender = message.sender
                        self._consensus.answers.attach(sender, replies)
                    self._consensus.receive(message)
                tasks.cancel_scope.cancel()
        except* DecodeError as errors:
            malformed = errors.exceptions[0]
        except* OrbitError:
            pass  # the other end, or the connection, is gone
        finally:
            if sender is not None:
                self._consensus.answers.detach(sender, replies)
        if malformed is not None:
            raise GRPCError(Status.INVALID_ARGUMENT, str(malformed))

    async def install_snapshot(self, requests: AsyncIterator[SnapshotChunkProto]) -> AppendEntriesResponseProto:
        """Take in a snapshot, and answer when it is installed."""
        try:
            message = await _snapshot(requests, self._node)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        answer = await self._consensus.ask(message)
        assert isinstance(answer, AppendEntriesResponse)
        return append_response_to_proto(answer)


async def _snapshot(chunks: AsyncIterator[SnapshotChunkProto], target: str) -> InstallSnapshot:
    head: SnapshotChunkProto | None = None
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        head = head or chunk
        parts.append(chunk.data)
        size += len(chunk.data)
        if size > _MAX_SNAPSHOT:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a snapshot is above {_MAX_SNAPSHOT} bytes")
    if head is None:
        raise DecodeError("the snapshot has no first piece")
    membership = decode_membership(head.membership) or Membership()
    snapshot = Snapshot(head.last_index, head.last_term, membership, b"".join(parts))
    return InstallSnapshot(head.term, node_name(head.leader_id), target, snapshot, head.context)


async def start_raft_server(
    consensus: RaftConsensus,
    address: str,
    *,
    services: Collection[Any] = (),
    task_status: TaskStatus[list[str]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve other nodes, and ``services`` of your own, on ``address`` until cancelled.

    With ``await task_group.start(start_raft_server, consensus, address)`` the start returns the targets that reach it.
    """
    async with Server([RaftService(consensus), *services]) as server:
        await server.serve(address, task_status=task_status)
