"""``orbit.shared.ConnectionService``: a node's identity, and the stream that carries actor invocations."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from orbit_net.errors import InvocationFailed
from orbit_net.messaging.asker import PLATFORM
from orbit_net.messaging.link import DRAINED
from orbit_net.messaging.session import Session
from orbit_net.model import (
    Failure,
    InfoRequest,
    InfoResponse,
    Invocation,
    InvocationConverter,
    InvocationFailure,
    InvocationValue,
    NodeIdConverter,
)
from orbit_net.proto.orbit.shared import ConnectionInfoRequestProto, ConnectionInfoResponseProto, InvocationRequestProto
from orbit_net.proto.orbit.shared.services import ConnectionServiceBase

if TYPE_CHECKING:
    from orbit_net.messaging.session import Receive, Received
    from orbit_net.model import Message, NodeId
    from orbit_net.proto.orbit.shared import MessageProto
    from orbit_net.server import ServerStream

__all__ = ["Invoke", "OrbitConnectionService"]

Invoke = Callable[[InvocationRequestProto], Awaitable[str]]
"""Runs one invocation and returns its value as JSON; raises :class:`InvocationFailed` to say why it has none."""

_log = logging.getLogger("orbit_net.messaging")

_MAX_MESSAGE = 4_000_000
"""Bytes of one answer: under gRPC's usual 4 MiB, for a larger one would end the stream at the asking node."""


class OrbitConnectionService(ConnectionServiceBase):
    """Answers who this node is, and hands each invocation of a stream to ``invoke``.

    Invocations of one stream run side by side, ``max_in_flight`` at the most; above that the stream is not read, so the
    peer's window closes. Each is answered under its ``message_id``, in whatever order they end: with the value, or with
    ``invocation_response_error``. An exception other than :class:`InvocationFailed` is logged, and only its type is
    told. An :class:`~orbit_net.messaging.ActorNode` has one of these as its ``service``, which routes as well.
    """

    def __init__(self, node_id: NodeId, invoke: Invoke, *, max_in_flight: int = 256) -> None:
        self._node_id = node_id
        self._invoke = invoke
        self._max_in_flight = max_in_flight
        self._sessions: set[Session] = set()
        self._finishing = False

    async def get_connection_info(self, request: ConnectionInfoRequestProto) -> ConnectionInfoResponseProto:
        """Answer with this node's id."""
        return ConnectionInfoResponseProto(node_id=NodeIdConverter.to_proto(self._node_id))

    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> None:
        """Serve one peer until it ends its side and everything is answered."""
        async with anyio.create_task_group() as tasks:

            def receive(message: Message, received: Received) -> None:
                if isinstance(message.content, Invocation):
                    tasks.start_soon(self._run, message.content, received)
                else:
                    answer_about(self._node_id, message, received)

            await self._serve(stream, receive)

    async def _serve(self, stream: ServerStream[MessageProto, MessageProto], receive: Receive) -> None:
        session = Session(self._node_id, stream, receive, limit=self._max_in_flight, max_message=_MAX_MESSAGE)
        self._sessions.add(session)
        stream.set_trailing_metadata({DRAINED: "drained"})
        if self._finishing:
            session.finish()
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    def finish(self) -> None:
        """Have every stream, and those still to come, end once what was read is answered. Does not wait.

        What a peer has sent and this node has not read was not carried out; the peer is told so by a trailer.
        """
        self._finishing = True
        for session in list(self._sessions):
            session.finish()

    async def _run(self, invocation: Invocation, received: Received) -> None:
        try:
            value = await self._invoke(InvocationConverter.to_proto(invocation))
        except InvocationFailed as error:
            received.answer(InvocationFailure(error.reason, PLATFORM))
        except Exception as error:  # noqa: BLE001 - an actor may raise anything
            _log.exception("the invocation of %s failed", invocation.method)
            received.answer(InvocationFailure(f"the invocation failed with {type(error).__name__}", PLATFORM))
        else:
            received.answer(InvocationValue(value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._node_id}, {len(self._sessions)} streams>"


def answer_about(node_id: NodeId, message: Message, received: Received) -> None:
    """Answer a message that is no invocation: who this node is, or nothing where the message is itself an answer."""
    if isinstance(message.content, InfoRequest):
        received.answer(InfoResponse(node_id))
        return
    if not isinstance(message.content, (Failure, InfoResponse, InvocationFailure, InvocationValue)):
        received.answer(Failure("the message cannot be answered"))
        return
    _log.debug("an answer without a question came to %s", node_id)
    received.answer(None)
