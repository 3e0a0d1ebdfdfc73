"""One node as a process: ``node.py BACKEND NAME DIRECTORY|- NAME=HOST…``; prints a line when it serves."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

sys.path.append(str(Path(__file__).resolve().parents[1]))

from orbit_net.model import NodeId
from orbit_net.raft import (
    DurableStorage,
    GrpcRaftTransport,
    KeyValueStore,
    MemoryStorage,
    RaftConsensus,
    start_raft_server,
)
from orbit_net.server import Server, ServerSettings
from raftcluster.store import JsonCodec, StoreService

RAFT_PORT, STORE_PORT = 7000, 7001


async def run(name: str, directory: str, hosts: dict[str, str]) -> None:
    """Serve until killed."""
    addresses = {NodeId(peer): f"{host}:{RAFT_PORT}" for peer, host in hosts.items()}
    storage = MemoryStorage() if directory == "-" else DurableStorage(directory)
    store = KeyValueStore()
    consensus = RaftConsensus(NodeId(name), list(addresses), state_machine=store, storage=storage)
    services = [StoreService(consensus, store)]
    async with (
        consensus,
        Server(services, codec=JsonCodec(), settings=ServerSettings(max_concurrent_streams=1_000)) as server,
        anyio.create_task_group() as tasks,
    ):
        await consensus.start(GrpcRaftTransport(NodeId(name), addresses))
        await tasks.start(start_raft_server, consensus, f"{hosts[name]}:{RAFT_PORT}")
        await server.listen(f"{hosts[name]}:{STORE_PORT}")
        print("ready", flush=True)
        await consensus.wait_stopped()


if __name__ == "__main__":
    backend, name, directory, *others = sys.argv[1:]
    anyio.run(run, name, directory, dict(other.split("=") for other in others), backend=backend)
