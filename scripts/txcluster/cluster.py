"""The nodes of a bank."""

from __future__ import annotations

import sys
from pathlib import Path

from nodeprocesses import NodeProcesses

from orbit_net.client import Channel, ChannelSettings
from txcluster.bank import BankStub, JsonCodec
from txcluster.node import BANK_PORT

_NODE = Path(__file__).with_name("node.py")


class Cluster(NodeProcesses[BankStub]):
    """Nodes with ``accounts`` each; ``guest`` is one that is none of these processes, and where they find it."""

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
        super().__init__(size)
        self.guest = {guest: self.hosts["a"].rpartition(".")[0] + ".99"} if guest else {}
        self.accounts = accounts
        self._remember = remember
        self._directory = directory
        self._backend = backend

    def command(self, name: str) -> list[str]:
        """Return what starts a node."""
        directory = "-" if self._directory is None else str(self._directory / name)
        command = [sys.executable, str(_NODE), self._backend, name, directory, str(self.accounts), str(self._remember)]
        return command + [f"{peer}={host}" for peer, host in (self.hosts | self.guest).items()]

    def connect(self, host: str, settings: ChannelSettings) -> tuple[Channel, BankStub]:
        """Return a channel to the bank at ``host`` and its stub."""
        channel = Channel(f"{host}:{BANK_PORT}", codec=JsonCodec(), settings=settings)
        return channel, BankStub(channel)
