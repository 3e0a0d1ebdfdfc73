"""``orbit.shared.ConnectionService``: a node's identity, and the stream that carries actor invocations."""

from __future__ import annotations

import logging
import platform
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio

from orbit_net.errors import InvocationFailed
from orbit_net.model import NodeIdConverter
from orbit_net.proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionInfoResponseProto,
    ErrorProto,
    InvocationRequestProto,
    InvocationResponseErrorProto,
    InvocationResponseProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProto,
    MessageTargetProtoUnicast,
)
from orbit_net.proto.orbit.shared.services import ConnectionServiceBase

if TYPE_CHECKING:
    from orbit_net.model import NodeId
    from orbit_net.server import ServerStream

__all__ = ["Invoke", "OrbitConnectionService"]

Invoke = Callable[[InvocationRequestProto], Awaitable[str]]
"""Runs one invocation and returns its value as JSON; raises :class:`InvocationFailed` to say why it has none."""

_log = logging.getLogger("orbit_net.messaging")

_PLATFORM: Final = f"{platform.python_implementation()} {platform.python_version()}"


class OrbitConnectionService(ConnectionServiceBase):
    """Answers who this node is, and hands each invocation of a stream to ``invoke``.

    Invocations of one stream run side by side, ``max_in_flight`` at the most; above that the stream is not read, so the
    peer's window closes. Each is answered under its ``message_id``, in whatever order they end: with the value, or with
    ``invocation_response_error``. An exception other than :class:`InvocationFailed` is logged, and only its type is
    told.
    """

    def __init__(self, node_id: NodeId, invoke: Invoke, *, max_in_flight: int = 256) -> None:
        self._node_id = node_id
        self._source = NodeIdConverter.to_proto(node_id)
        self._invoke = invoke
        self._max_in_flight = max_in_flight

    async def get_connection_info(self, request: ConnectionInfoRequestProto) -> ConnectionInfoResponseProto:
        """Answer with this node's id."""
        return ConnectionInfoResponseProto(node_id=self._source)

    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> None:
        """Serve one peer until it ends its side and everything is answered."""
        slots = anyio.Semaphore(self._max_in_flight)
        async with anyio.create_task_group() as tasks:
            async for message in stream:
                await slots.acquire()
                tasks.start_soon(self._serve, stream, message, slots)

    async def _serve(
        self, stream: ServerStream[MessageProto, MessageProto], message: MessageProto, slots: anyio.Semaphore
    ) -> None:
        try:
            content = await self._answer(message.content or MessageContentProto())
            if content is not None:
                await stream.send_message(self._reply(message, content))
        finally:
            slots.release()

    async def _answer(self, content: MessageContentProto) -> MessageContentProto | None:
        if content.invocation_request is not None:
            return await self._run(content.invocation_request)
        if content.info_request is not None:
            return MessageContentProto(info_response=ConnectionInfoResponseProto(node_id=self._source))
        if content.info_response or content.invocation_response or content.invocation_response_error or content.error:
            _log.debug("an answer without a question came to %s", self._node_id)
            return None
        return MessageContentProto(error=ErrorProto(description="the message has no content"))

    async def _run(self, request: InvocationRequestProto) -> MessageContentProto:
        try:
            value = await self._invoke(request)
        except InvocationFailed as error:
            return _failure(error.reason)
        except Exception as error:  # noqa: BLE001 - an actor may raise anything
            _log.exception("the invocation of %s failed", request.method)
            return _failure(f"the invocation failed with {type(error).__name__}")
        return MessageContentProto(invocation_response=InvocationResponseProto(value=value))

    def _reply(self, message: MessageProto, content: MessageContentProto) -> MessageProto:
        target = None
        if message.source is not None:
            target = MessageTargetProto(unicast_target=MessageTargetProtoUnicast(target=message.source))
        return MessageProto(
            message_id=message.message_id,
            source=self._source,
            target=target,
            content=content,
            attempts=message.attempts,
        )

    def __repr__(self) -> str:
        return f"<OrbitConnectionService of {self._node_id}>"


def _failure(description: str) -> MessageContentProto:
    error = InvocationResponseErrorProto(description=description, platform=_PLATFORM)
    return MessageContentProto(invocation_response_error=error)
