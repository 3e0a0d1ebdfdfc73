"""The nodes of a replicated store, and a client that finds the leader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
from nodeprocesses import NodeProcesses

from orbit_net.client import Channel, ChannelSettings
from orbit_net.errors import RpcError
from orbit_net.status import Status
from raftcluster.node import STORE_PORT
from raftcluster.store import JsonCodec, StoreStub

_NODE = Path(__file__).with_name("node.py")


class Cluster(NodeProcesses[StoreStub]):
    """Nodes that agree; ``directory`` None keeps everything in memory."""

    def __init__(self, size: int, directory: Path | None, backend: str) -> None:
        super().__init__(size)
        self._directory = directory
        self._backend = backend
        self._hint: str | None = None

    def command(self, name: str) -> list[str]:
        """Return what starts a node."""
        directory = "-" if self._directory is None else str(self._directory / name)
        others = [f"{peer}={host}" for peer, host in self.hosts.items()]
        return [sys.executable, str(_NODE), self._backend, name, directory, *others]

    def connect(self, host: str, settings: ChannelSettings) -> tuple[Channel, StoreStub]:
        """Return a channel to the store at ``host`` and its stub."""
        channel = Channel(f"{host}:{STORE_PORT}", codec=JsonCodec(), settings=settings)
        return channel, StoreStub(channel)

    async def leader(self, *, other_than: str | None = None) -> str:
        """Wait until a running node knows a leader that runs, and return its name."""
        while True:
            for name in list(self.processes):
                try:
                    leader = (await self.stubs[name].status(timeout=1.0))["leader"]
                except RpcError:
                    continue
                if leader is not None and leader != other_than and leader in self.processes:
                    return str(leader)
            await anyio.sleep(0.005)  # other processes: asking is the only way to know

    async def put(self, key: str, value: Any) -> bool:
        """Set a value on whichever node leads; return False when it may or may not be done."""
        while True:
            name = self._hint or await self.leader()
            try:
                await self.stubs[name].put(key, value, timeout=3.0)
            except RpcError as error:
                self._hint = None
                if error.status not in (Status.FAILED_PRECONDITION, Status.ABORTED):
                    return False
            else:
                self._hint = name
                return True

    async def get(self, key: str) -> Any:
        """Return a value as it is now."""
        while True:
            name = self._hint or await self.leader()
            try:
                value = await self.stubs[name].get(key, timeout=3.0)
            except RpcError:
                self._hint = None
                await anyio.sleep(0.005)
            else:
                self._hint = name
                return value
