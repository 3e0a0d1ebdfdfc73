"""This node's own place among the members: a key under a lease that is kept alive."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from orbit_net.directory.etcd.keys import Member, write_member
from orbit_net.errors import LeaseExpired, OrbitError
from orbit_net.model import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.directory.etcd.client import EtcdClient
    from orbit_net.model import NodeInfo

__all__ = ["Membership"]

_log = logging.getLogger("orbit_net.directory")


class Membership:
    """Registers ``node`` at ``key`` and keeps it there; ``written`` is told of each word that etcd took, ``changed`` of
    STOPPED when the lease was lost and of the node's status when it is back.
    """

    def __init__(
        self,
        client: EtcdClient,
        key: bytes,
        node: NodeInfo,
        written: Callable[[Member], None],
        changed: Callable[[NodeStatus], None],
    ) -> None:
        self.node = node
        self.lease: int | None = None
        self.leaving = False
        self._told: NodeStatus | None = None  # the last status that etcd took
        self._unrevoked: int | None = None
        self._client = client
        self._seconds = client.settings.lease
        self._key = key
        self._written = written
        self._changed = changed

    async def register(self, *, take_over: bool) -> None:
        """Write the node under a new lease. With ``take_over``, one of an earlier life of the same node is revoked.

        Raises :class:`LeaseExpired` when somebody else holds the key.
        """
        lease = await self._client.grant(self._seconds)
        for _ in range(2):
            answer = await self._client.transact(write_member(self._key, self.node, lease, held=0))
            found = None if answer.succeeded else answer.responses[0].response_range
            holder = found.kvs[0].lease if found is not None and found.kvs else None
            if answer.succeeded or holder == lease:  # the second: a lost answer, and a second try
                self.lease = lease
                self._told = self.node.status
                self._written(Member(self.node, lease, answer.header.revision if answer.header else 0))
                return
            if holder is not None and not take_over:
                break
            if holder is not None:
                await self._client.revoke(holder)
        await self._client.revoke(lease)
        raise LeaseExpired(f"the node {self.node.id} is registered by somebody else")

    async def stay(self) -> None:
        """Keep the lease alive; when it is lost, say so, and register again. Runs until cancelled."""
        third = self._seconds / 3
        # By our own clock, from before each question: etcd's lease never ends before this.
        safe_until = anyio.current_time() + self._seconds
        while not self.leaving:
            await anyio.sleep(third)
            asked = anyio.current_time()
            if self.lease is None:
                if await self._come_back():
                    safe_until = asked + self._seconds
                continue
            try:
                await self._client.keep_alive(self.lease, timeout=max(0.1, min(third, safe_until - asked)))
                safe_until = asked + self._seconds
                await self._tell()  # what was cut off when it was to be told
            except LeaseExpired as error:
                self.lost(error)
            except OrbitError as error:
                _log.info("the lease was not prolonged: %s", error)
                if anyio.current_time() >= safe_until:
                    self.lost(error)

    def lost(self, reason: OrbitError) -> None:
        """Take notice that the lease is gone; no effect where it is known or meant."""
        if self.leaving or self.lease is None:
            return
        _log.warning("the node %s has lost its lease: %s", self.node.id, reason)
        self.lease = None
        self._changed(NodeStatus.STOPPED)

    async def _come_back(self) -> bool:
        if self.leaving or self.node.status is NodeStatus.STOPPED:
            return False
        try:
            await self.register(take_over=False)
        except OrbitError as error:
            _log.info("the node %s is not registered: %s", self.node.id, error)
            return False
        self._changed(self.node.status)
        return True

    async def set_status(self, status: NodeStatus) -> None:
        """Write a new status; STOPPED revokes the lease. After an error or a cancellation it is told with the next
        keepalive, or by asking again.
        """
        self.node = replace(self.node, status=status)
        if status is NodeStatus.STOPPED:
            await self.leave()
        else:
            await self._tell()

    async def _tell(self) -> None:
        """Write the status, unless etcd has it already."""
        node, lease = self.node, self.lease
        if lease is None or self._told is node.status:
            return
        answer = await self._client.transact(write_member(self._key, node, lease, held=lease))
        if answer.succeeded:
            self._told = node.status
            self._written(Member(node, lease, answer.header.revision if answer.header else 0))

    async def leave(self) -> None:
        """Revoke the lease, which frees everything that stands under it. After a cancellation it can be asked again."""
        self._unrevoked, self.lease = self.lease or self._unrevoked, None
        if self._unrevoked is None:
            return
        try:
            await self._client.revoke(self._unrevoked)
        except OrbitError as error:
            _log.warning("the lease was not revoked and will run out: %s", error)
        self._unrevoked = None
