"""One node as a process, which prints a line when it serves.

``node.py BACKEND NAME DIRECTORY|- ACCOUNTS REMEMBER NAME=HOST…``
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

sys.path.append(str(Path(__file__).resolve().parents[1]))

from orbit_net.client import BreakerPolicy, ConnectionPool, TransportConfig
from orbit_net.directory import StaticNodeResolver
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo
from orbit_net.server import Server, ServerSettings
from orbit_net.transactions import ParticipantConfig, TransactionConfig, TransactionNode
from txcluster.bank import BankAccount, BankService, JsonCodec
from txcluster.dying import DyingLog, DyingVoteLog, Fuse

NODE_PORT, BANK_PORT = 7100, 7101
IMPATIENT = TransactionConfig(timeout=5.0, resend_initial=0.1, resend_max=1.0)
TRANSPORT = TransportConfig(connect_timeout=1.0, request_timeout=5.0)
BREAKER = BreakerPolicy(isolation=0.5, max_isolation=1.0)
"""Nodes are back in a second here; the default would leave them alone for ten."""


def infos(hosts: dict[str, str]) -> list[NodeInfo]:
    """Describe the nodes: each has the accounts of its own type."""
    return [
        NodeInfo(NodeId(name), host, NODE_PORT, NodeCapabilities((f"Account-{name}",))) for name, host in hosts.items()
    ]


async def run(name: str, directory: str, accounts: int, remember: int, hosts: dict[str, str]) -> None:
    """Serve until killed."""
    fuse = Fuse()
    durable = directory != "-"
    pool = ConnectionPool(TRANSPORT, breaker=BREAKER)
    node = TransactionNode(
        NodeId(name),
        StaticNodeResolver(infos(hosts)),
        log=DyingLog(f"{directory}/decisions.db", fuse) if durable else None,
        votes=DyingVoteLog(f"{directory}/votes.db", fuse) if durable else None,
        config=IMPATIENT,
        participant_config=ParticipantConfig(ask_max=2.0),
        pool=pool,
    )
    node.register(f"Account-{name}", BankAccount(remember))
    settings = ServerSettings(max_concurrent_streams=1_000)
    bank = BankService(name, node, accounts, fuse.arm)
    async with (
        pool,
        node,
        Server([node.service], settings=settings) as server,
        Server([bank], codec=JsonCodec(), settings=settings) as front,
    ):
        await server.listen(f"{hosts[name]}:{NODE_PORT}")
        await front.listen(f"{hosts[name]}:{BANK_PORT}")
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    backend, name, directory, accounts, remember, *others = sys.argv[1:]
    hosts = dict(other.split("=") for other in others)
    anyio.run(run, name, directory, int(accounts), int(remember), hosts, backend=backend)
