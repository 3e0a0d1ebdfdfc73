"""The links of one node, one to each peer that it has talked to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orbit_net.context import detached
from orbit_net.errors import ConnectionLost
from orbit_net.messaging.link import Link
from orbit_net.model import NodeStatus
from orbit_net.net import Timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.directory import Directory
    from orbit_net.messaging.settings import LinkSettings
    from orbit_net.model import NodeId

__all__ = ["Links"]


class Links:
    """Opens links at their first use, and again where the directory names another address."""

    def __init__(
        self,
        source: NodeId,
        directory: Directory,
        settings: LinkSettings,
        connector: Callable[[str], Awaitable[ByteStream]] | None,
        random: Random,
    ) -> None:
        self.timers = Timers()
        self.connector = connector
        self._source = source
        self._directory = directory
        self._settings = settings
        self._random = random
        self._links: dict[NodeId, Link] = {}
        self._tasks: TaskGroup | None = None
        self._closed = False

    def start(self, tasks: TaskGroup) -> None:
        """Name the task group that links run in."""
        self._tasks = tasks
        tasks.start_soon(self.timers.run)

    def get(self, node_id: NodeId) -> Link | None:
        """Return the link to a node if there is one."""
        return self._links.get(node_id)

    async def open(self, node_id: NodeId) -> Link:
        """Return the link to a node at the address that the directory has now. Raises :class:`NodeNotFound`."""
        target = await self._directory.resolve_node(node_id)
        link = self._links.get(node_id)
        if link is not None and link.target == target:
            return link
        if self._closed or self._tasks is None:
            raise ConnectionLost("the node is not running")
        connector = None if self.connector is None else partial(self.connector, target)
        new = Link(
            self._source,
            node_id,
            target,
            settings=self._settings,
            connector=connector,
            random=self._random,
            timers=self.timers,
            on_drained=lambda: self._directory.node_status(node_id, NodeStatus.DRAINING),
        )
        self._links[node_id] = new
        with detached():  # a link outlives the call that opens it
            self._tasks.start_soon(new.run)
        if link is not None:
            link.retire()
        return new

    def retire(self, node_id: NodeId) -> None:
        """Send nothing more to a node that has gone; what it does not answer is tried elsewhere where that is safe."""
        link = self._links.pop(node_id, None)
        if link is not None:
            link.retire()

    def close(self) -> None:
        """Close every link. Does not wait."""
        self._closed = True
        for link in self._links.values():
            link.close()
        self._links.clear()

    def __len__(self) -> int:
        return len(self._links)
