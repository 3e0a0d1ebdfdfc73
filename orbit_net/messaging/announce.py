"""How a node tells the others of a static directory that it leaves, and what it serves to them.

Orbit's messages have no word for it, so the status travels as metadata of ``GetConnectionInfo``, which a peer that does
not know of it ignores.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError, OrbitError
from orbit_net.messaging.connection_service import OrbitConnectionService
from orbit_net.model import NodeId, NodeStatus
from orbit_net.proto.orbit.shared import ConnectionInfoRequestProto, ConnectionInfoResponseProto
from orbit_net.proto.orbit.shared.services import ConnectionServiceStub
from orbit_net.server import current_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from orbit_net.directory import Directory
    from orbit_net.messaging.session import Receive
    from orbit_net.messaging.settings import LinkSettings
    from orbit_net.proto.orbit.shared import MessageProto
    from orbit_net.server import ServerStream

__all__ = ["NodeService", "announce"]

_NODE: Final = "orbit-node"
_STATUS: Final = "orbit-node-status"

_log = logging.getLogger("orbit_net.messaging")


async def announce(
    node_id: NodeId,
    status: NodeStatus,
    directory: Directory,
    settings: LinkSettings,
    connector: Callable[[str], Awaitable[ByteStream]] | None,
) -> None:
    """Tell every node that has to be told; one that does not answer within the connect timeout is left out."""

    async def tell(other: NodeId) -> None:
        try:
            target = await directory.resolve_node(other)
            connect = None if connector is None else partial(connector, target)
            async with Channel(target, settings=settings.channel, connector=connect) as channel:
                await ConnectionServiceStub(channel).get_connection_info(
                    ConnectionInfoRequestProto(),
                    timeout=settings.connect_timeout,
                    metadata={_NODE: str(node_id), _STATUS: status.name},
                )
        except OrbitError as error:
            _log.info("%s was not told that %s is %s: %s", other, node_id, status.name, error)

    async with anyio.create_task_group() as tasks:
        for other in directory.others():
            tasks.start_soon(tell, other)


class NodeService(OrbitConnectionService):
    """The connection service of an actor node: every message goes to the node, which routes it."""

    def __init__(self, node_id: NodeId, directory: Directory, receive: Receive, *, max_in_flight: int) -> None:
        super().__init__(node_id, _nobody, max_in_flight=max_in_flight)
        self._directory = directory
        self._receive = receive
        self._ended: anyio.Event | None = None

    async def get_connection_info(self, request: ConnectionInfoRequestProto) -> ConnectionInfoResponseProto:
        """Answer with this node's id, and take notice of the asking node's status where it tells one."""
        metadata = current_call().metadata
        name, status = metadata.get(_NODE), metadata.get(_STATUS)
        if isinstance(name, str) and isinstance(status, str) and status in NodeStatus.__members__:
            try:
                self._directory.node_status(NodeId.parse(name), NodeStatus[status])
            except ConfigurationError as error:
                _log.info("a node told its status and not its name: %s", error)
        return await super().get_connection_info(request)

    async def open_stream(self, stream: ServerStream[MessageProto, MessageProto]) -> None:
        """Serve one peer until it ends its side, or this node leaves, and everything read is answered."""
        try:
            await self._serve(stream, self._receive)
        finally:
            if self._ended is not None:
                self._ended.set()

    async def wait_finished(self) -> None:
        """Wait until no stream is open."""
        while self._sessions:
            self._ended = anyio.Event()
            await self._ended.wait()


async def _nobody(request: object) -> str:
    raise AssertionError("the node takes every message itself")
