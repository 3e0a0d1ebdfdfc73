"""Starts, kills and asks node processes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import anyio

from orbit_net.client import BackoffPolicy, Channel, ChannelSettings
from orbit_net.errors import RpcError
from orbit_net.status import Status
from raftcluster.node import STORE_PORT
from raftcluster.store import JsonCodec, StoreStub

_NODE = Path(__file__).with_name("node.py")
_SETTINGS = ChannelSettings(connect_timeout=2.0, backoff=BackoffPolicy(initial=0.02, multiplier=1.0))


class Cluster:
    """Nodes ``a``, ``b``, ``c`` … on loopback addresses of their own, so that ports never collide."""

    def __init__(self, size: int, directory: Path | None, backend: str) -> None:
        net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.hosts = {chr(ord("a") + number): f"{net}.{number + 1}" for number in range(size)}
        self._directory = directory
        self._backend = backend
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._channels: dict[str, Channel] = {}
        self._hint: str | None = None
        self.stubs: dict[str, StoreStub] = {}

    async def __aenter__(self) -> Self:
        for name in self.hosts:
            self.start(name)
        try:
            for name in self.hosts:
                await self.wait_started(name)
            for name, host in self.hosts.items():
                channel = Channel(f"{host}:{STORE_PORT}", codec=JsonCodec(), settings=_SETTINGS)
                self._channels[name] = await channel.__aenter__()
                self.stubs[name] = StoreStub(channel)
        except BaseException:
            self.kill_all()
            raise
        return self

    async def __aexit__(self, *details: Any) -> None:
        for channel in reversed(self._channels.values()):
            channel.close()
        self.kill_all()
        for channel in reversed(self._channels.values()):
            await channel.__aexit__(None, None, None)

    def start(self, name: str) -> None:
        """Start a node that does not run."""
        directory = "-" if self._directory is None else str(self._directory / name)
        others = [f"{peer}={host}" for peer, host in self.hosts.items()]
        command = [sys.executable, str(_NODE), self._backend, name, directory, *others]
        self._processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def wait_started(self, name: str) -> None:
        """Wait until a node serves."""
        output = self._processes[name].stdout
        assert output is not None
        line = await anyio.to_thread.run_sync(output.readline)
        if line != "ready\n":
            raise RuntimeError(f"the node {name} did not start")

    def kill(self, name: str) -> None:
        """End a node at once: SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def kill_all(self) -> None:
        """End all nodes."""
        for name in list(self._processes):
            self.kill(name)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes.values()]

    async def leader(self, *, other_than: str | None = None) -> str:
        """Wait until a running node knows a leader that runs, and return its name."""
        while True:
            for name in list(self._processes):
                try:
                    leader = (await self.stubs[name].status(timeout=1.0))["leader"]
                except RpcError:
                    continue
                if leader is not None and leader != other_than and leader in self._processes:
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
