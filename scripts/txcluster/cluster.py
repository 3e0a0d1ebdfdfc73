"""Starts, kills and asks node processes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import anyio

from orbit_net.client import BackoffPolicy, Channel, ChannelSettings
from txcluster.bank import BankStub, JsonCodec
from txcluster.node import BANK_PORT

_NODE = Path(__file__).with_name("node.py")
_SETTINGS = ChannelSettings(connect_timeout=2.0, backoff=BackoffPolicy(initial=0.02, multiplier=1.0))


class Cluster:
    """Nodes ``a``, ``b``, ``c`` … on loopback addresses of their own, so that ports never collide."""

    def __init__(
        self,
        size: int,
        directory: Path | None,
        backend: str,
        *,
        accounts: int,
        remember: int = 1_000_000,
        guest: str = "",
    ) -> None:
        net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.hosts = {chr(ord("a") + number): f"{net}.{number + 1}" for number in range(size)}
        self.guest = {guest: f"{net}.99"} if guest else {}
        """A node that is none of these processes, and where they find it."""
        self.accounts = accounts
        self.stubs: dict[str, BankStub] = {}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._remember = remember
        self._directory = directory
        self._backend = backend
        self._channels: dict[str, Channel] = {}

    async def __aenter__(self) -> Self:
        for name in self.hosts:
            self.start(name)
        try:
            for name in self.hosts:
                await self.wait_started(name)
            for name, host in self.hosts.items():
                channel = Channel(f"{host}:{BANK_PORT}", codec=JsonCodec(), settings=_SETTINGS)
                self._channels[name] = await channel.__aenter__()
                self.stubs[name] = BankStub(channel)
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
        command = [sys.executable, str(_NODE), self._backend, name, directory, str(self.accounts), str(self._remember)]
        command += [f"{peer}={host}" for peer, host in (self.hosts | self.guest).items()]
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def wait_started(self, name: str) -> None:
        """Wait until a node serves."""
        output = self.processes[name].stdout
        assert output is not None
        line = await anyio.to_thread.run_sync(output.readline)
        if line != "ready\n":
            raise RuntimeError(f"the node {name} did not start")

    async def wait_died(self, name: str) -> int:
        """Wait until a node has ended, and return its exit code."""
        process = self.processes[name]
        code = await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        self.kill(name)
        return code

    def kill(self, name: str) -> None:
        """End a node at once: SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def kill_all(self) -> None:
        """End all nodes."""
        for name in list(self.processes):
            self.kill(name)
