"""Nodes as processes of their own, which a script starts, asks and kills."""

from __future__ import annotations

import os
import random
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import anyio

from orbit_net.client import BackoffPolicy, Channel, ChannelSettings

Stub = TypeVar("Stub")

_SETTINGS: Final = ChannelSettings(connect_timeout=2.0, backoff=BackoffPolicy(initial=0.02, multiplier=1.0))


class NodeProcesses(ABC, Generic[Stub]):
    """Nodes ``a``, ``b``, ``c`` … on loopback addresses of their own, so that ports never collide, and a stub of each.

    A node prints ``ready`` when it serves.
    """

    def __init__(self, size: int) -> None:
        net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.hosts = {chr(ord("a") + number): f"{net}.{number + 1}" for number in range(size)}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.stubs: dict[str, Stub] = {}
        self._channels: list[Channel] = []

    @abstractmethod
    def command(self, name: str) -> list[str]:
        """Return what starts a node."""

    @abstractmethod
    def connect(self, host: str, settings: ChannelSettings) -> tuple[Channel, Stub]:
        """Return a channel to the node at ``host`` and its stub."""

    async def __aenter__(self) -> Self:
        for name in self.hosts:
            self.start(name)
        try:
            for name in self.hosts:
                await self.wait_started(name)
            for name, host in self.hosts.items():
                channel, self.stubs[name] = self.connect(host, _SETTINGS)
                self._channels.append(await channel.__aenter__())
        except BaseException:
            self.kill_all()
            raise
        return self

    async def __aexit__(self, *details: Any) -> None:
        for channel in reversed(self._channels):
            channel.close()
        self.kill_all()
        for channel in reversed(self._channels):
            await channel.__aexit__(None, None, None)

    def start(self, name: str) -> None:
        """Start a node that does not run."""
        self.processes[name] = subprocess.Popen(self.command(name), stdout=subprocess.PIPE, text=True)

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

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self.processes.values()]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
