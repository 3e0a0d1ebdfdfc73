"""One node of the cluster: hosts accounts, and leaves when it is asked to.

    python member.py BACKEND NAME DIRECTORY        DIRECTORY: static, or an endpoint of etcd

Prints the address that it listens on as its first line. With the static directory it then reads the list of all nodes
from standard input: one JSON object of names and ports.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.to_thread

from orbit_net.directory import EtcdNodeResolver, StaticNodeResolver
from orbit_net.messaging import ActorNode
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo
from orbit_net.server import Server

TYPES = {"narrator": ()}
"""The narrator hosts nothing; every other node hosts accounts, and its own operator."""


class Account:
    """Money that moves with its account: a real one would read it in ``on_activate`` and write it down."""

    def __init__(self, reference: Any) -> None:
        self._turns = 0

    async def turn(self, number: int) -> list[object]:
        """Say which node this is, and how often this activation was called."""
        self._turns += 1
        return [NAME, number, self._turns]


class Operator:
    """Takes the order to leave."""

    def __init__(self, reference: Any, leave: anyio.Event) -> None:
        self._leave = leave

    async def drain(self) -> str:
        """Leave the cluster, soon."""
        self._leave.set()
        return NAME


NAME = ""


def info_of(name: str, port: int) -> NodeInfo:
    """Describe a node of the demo by its name and port."""
    types = TYPES.get(name, ("Account", f"Operator-{name}"))
    return NodeInfo(NodeId(name), "127.0.0.1", port, NodeCapabilities(types))


async def list_of_nodes() -> list[NodeInfo]:
    """Read the list of all nodes from standard input."""
    line = await anyio.to_thread.run_sync(sys.stdin.readline)
    return [info_of(name, port) for name, port in json.loads(line).items()]


async def run(name: str, where: str) -> None:
    """Host accounts until told to leave."""
    leave = anyio.Event()
    async with AsyncExitStack() as stack:
        directory: Any = StaticNodeResolver([], local=NodeId(name))
        if where != "static":
            directory = await stack.enter_async_context(EtcdNodeResolver([where]))
        node = ActorNode(NodeId(name), directory)
        node.register(Account)
        node.register(Operator, name=f"Operator-{name}", factory=lambda reference: Operator(reference, leave))
        await stack.enter_async_context(node)
        server = await stack.enter_async_context(Server([node.service]))
        [target] = await server.listen("127.0.0.1:0")
        port = int(target.rpartition(":")[2])
        print(port, flush=True)
        if where == "static":
            for info in await list_of_nodes():
                directory.add(info)
        else:
            await directory.join(info_of(name, port))
            print("joined", flush=True)
        await leave.wait()
        await node.drain()
        await server.drain(grace=5)


if __name__ == "__main__":
    backend, NAME, directory_name = sys.argv[1:]
    anyio.run(run, NAME, directory_name, backend=backend)
