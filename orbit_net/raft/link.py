"""The way to one other node: a channel of its own, an outbox that drops, and a new connection after each failure."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio

from orbit_net.client import Channel, ChannelSettings
from orbit_net.errors import OrbitError, RpcError
from orbit_net.proto.orbit.consensus import SnapshotChunkProto
from orbit_net.proto.orbit.consensus.services import RaftConsensusStub
from orbit_net.raft.convert import (
    append_response_from_proto,
    append_to_proto,
    message_from_proto,
    message_to_proto,
    vote_response_from_proto,
    vote_to_proto,
)
from orbit_net.raft.encoding import encode_membership
from orbit_net.raft.messages import AppendEntriesRequest, InstallSnapshot, Message, VoteRequest, VoteResponse
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskGroup

    from orbit_net.raft.transport import Receiver

__all__ = ["Link", "ask_append", "ask_vote"]

_log = logging.getLogger("orbit_net.raft")

_OUTBOX: Final = 256
"""Messages that wait for the connection: more than the window of unanswered appends, so that a burst fits."""
_PAUSE: Final = 0.05
"""Seconds between two connections: a heartbeat, for a node that is back should hear it before it is a candidate."""
_CLOSE_GRACE: Final = 0.2
_CHUNK: Final = 262_144


class Link:
    """Messages to ``peer`` in their order, and the answers to ``receiver``.

    Times in seconds: ``connect_timeout`` for a connection, ``silence`` without any answer after which a connection is
    given up. What cannot be sent is dropped, and the receiver is told once for each connection that ended.
    """

    def __init__(
        self, node: str, peer: str, address: str, receiver: Receiver, *, connect_timeout: float, silence: float
    ) -> None:
        self.peer = peer
        self.dropped = 0
        self.connections = 0
        self.legacy = False
        """Whether the peer refused ``Exchange`` and is asked call by call."""
        self._node = node
        self._address = address
        self._receiver = receiver
        self._settings = ChannelSettings(connect_timeout=connect_timeout, max_receive_message=16 * 1_048_576)
        self._silence = silence
        self._outbox: deque[Message] = deque()
        self._snapshot: InstallSnapshot | None = None
        self._work = anyio.Event()
        self._session: anyio.CancelScope | None = None
        self._unanswered_since: float | None = None
        self._unproven: list[Message] = []  # sent before the peer has shown that it knows Exchange

    def send(self, message: Message) -> None:
        """Queue a message, or drop it when too many wait."""
        if isinstance(message, InstallSnapshot):
            self._snapshot = message
        elif len(self._outbox) >= _OUTBOX:
            self.dropped += 1
            return
        else:
            self._outbox.append(message)
        self._work.set()

    def move(self, address: str) -> None:
        """Reach the peer at another address from now on: the connection is given up."""
        if address != self._address:
            self._address = address
            if self._session is not None:
                self._session.cancel()

    async def run(self) -> None:
        """Connect whenever there is something to send, until cancelled."""
        while True:
            await self._work.wait()
            self.connections += 1
            self._unanswered_since = None
            try:
                await self._connect()
            except OrbitError as error:
                _log.debug("%r: %s", self, error)
            self._outbox.clear()
            self._snapshot = None
            self._work = anyio.Event()
            self._receiver.unreachable(self.peer)
            await anyio.sleep(_PAUSE)

    async def _connect(self) -> None:
        with anyio.CancelScope() as scope:
            async with Channel(self._address, settings=self._settings) as channel:
                try:
                    await self._converse(RaftConsensusStub(channel))
                finally:
                    scope.deadline = anyio.current_time() + _CLOSE_GRACE

    async def _converse(self, stub: RaftConsensusStub) -> None:
        with anyio.CancelScope() as self._session:
            self.legacy = False
            self._unproven = []
            try:
                await self._exchange(stub)
            except RpcError as error:
                if error.status is not Status.UNIMPLEMENTED:
                    raise
                self.legacy = True
                self._outbox.extendleft(reversed(self._unproven))
                await self._ask_one_by_one(stub)

    async def _next(self) -> Message | None:
        """Wait for something to send; None for the snapshot."""
        while not self._outbox:
            if self._snapshot is not None:
                return None
            self._work = anyio.Event()
            await self._work.wait()
        return self._outbox.popleft()

    # --- peers of this kind ----------------------------------------------------------------------

    async def _exchange(self, stub: RaftConsensusStub) -> None:
        failures: list[OrbitError] = []

        async def guarded(action: Callable[[], Any]) -> None:
            try:
                await action()
            except OrbitError as error:
                failures.append(error)
            tasks.cancel_scope.cancel()

        proven = False
        async with stub.exchange() as stream:

            async def receive() -> None:
                nonlocal proven
                async for answer in stream:
                    self._unanswered_since = None
                    proven = True
                    self._unproven.clear()
                    self._receiver.receive(message_from_proto(answer, self._node))

            async def send() -> None:
                while True:
                    message = await self._next()
                    if message is None:
                        self._start_snapshot(tasks, stub)
                        continue
                    if self._unanswered_since is None:
                        self._unanswered_since = anyio.current_time()
                    if not proven and len(self._unproven) < _OUTBOX:
                        self._unproven.append(message)
                    await stream.send_message(message_to_proto(message))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, receive)
                tasks.start_soon(guarded, send)
                tasks.start_soon(guarded, self._watch)
            stream.close()
        if failures:
            raise failures[0]

    async def _watch(self) -> None:
        """Return when nothing was answered for too long: the other end may be gone without a word."""
        while True:
            await anyio.sleep(self._silence / 4)
            since = self._unanswered_since
            if since is not None and anyio.current_time() - since > self._silence:
                return

    def _start_snapshot(self, tasks: TaskGroup, stub: RaftConsensusStub) -> None:
        request, self._snapshot = self._snapshot, None
        assert request is not None
        tasks.start_soon(self._send_snapshot, stub, request)

    async def _send_snapshot(self, stub: RaftConsensusStub, request: InstallSnapshot) -> None:
        """Send one snapshot beside the other messages, so that heartbeats do not wait for it."""
        try:
            answer = await stub.install_snapshot(_chunks(request))
            self._receiver.receive(append_response_from_proto(answer, self._node))
        except OrbitError as error:
            _log.info("the snapshot for %s failed: %s", self.peer, error)
            self._receiver.unreachable(self.peer)

    # --- peers without Exchange ------------------------------------------------------------------

    async def _ask_one_by_one(self, stub: RaftConsensusStub) -> None:
        while True:
            message = await self._next()
            match message:
                case VoteRequest(pre_vote=True):
                    # It has no pre-vote, so it cannot object; to ask it would raise its term.
                    answer: Message = VoteResponse(
                        message.term, self.peer, self._node, granted=True, pre_vote=True, context=message.context
                    )
                case VoteRequest():
                    answer = await ask_vote(stub, message, self._silence)
                case AppendEntriesRequest():
                    answer = await ask_append(stub, message, self._silence)
                case None:
                    self._snapshot = None
                    _log.warning("%s needs a snapshot and has no way to take one", self.peer)
                    self._receiver.unreachable(self.peer)
                    continue
                case _:
                    continue
            self._receiver.receive(answer)

    def __repr__(self) -> str:
        return f"<Link to {self.peer} at {self._address}, {len(self._outbox)} waiting, {self.dropped} dropped>"


async def ask_vote(stub: RaftConsensusStub, request: VoteRequest, timeout: float) -> VoteResponse:
    """Ask by ``RequestVote``."""
    answer = await stub.request_vote(vote_to_proto(request), timeout=timeout)
    return vote_response_from_proto(answer, request.sender)


async def ask_append(stub: RaftConsensusStub, request: AppendEntriesRequest, timeout: float) -> Any:
    """Ask by ``AppendEntries``."""
    answer = await stub.append_entries(append_to_proto(request), timeout=timeout)
    return append_response_from_proto(answer, request.sender, request)


async def _chunks(request: InstallSnapshot) -> AsyncIterator[SnapshotChunkProto]:
    snapshot = request.snapshot
    yield SnapshotChunkProto(
        term=request.term,
        leader_id=request.sender,
        context=request.context,
        last_index=snapshot.index,
        last_term=snapshot.term,
        membership=encode_membership(snapshot.membership),
        data=snapshot.data[:_CHUNK],
    )
    for start in range(_CHUNK, len(snapshot.data), _CHUNK):
        yield SnapshotChunkProto(data=snapshot.data[start : start + _CHUNK])
