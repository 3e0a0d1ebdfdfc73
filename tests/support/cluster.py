"""Nodes of actors in one process, joined by byte streams in memory that a test can cut."""

from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

import anyio

from orbit_net.client import BackoffPolicy
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import InvocationFailed
from orbit_net.messaging import ActorNode, LinkSettings, idempotent
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo
from orbit_net.server import Server
from orbit_net.testing import MemoryNetwork

FAST = LinkSettings(timeout=10.0, backoff=BackoffPolicy(initial=0.001, maximum=0.02))
"""Backoff for tests: in memory, a peer is back at once or not at all."""


class Ledger:
    """An actor that counts; ``Ledger.log`` has every execution, by actor, in order."""

    log: ClassVar = {}
    gates: ClassVar = {}

    def __init__(self, reference):
        self.reference = reference
        self.total = 0
        self.running = 0

    async def add(self, amount, tag=None):
        """Add, and give others the chance to come between."""
        assert not self.running, "two invocations of one actor at a time"
        self.running += 1
        before = self.total
        await anyio.lowlevel.checkpoint()
        self.total = before + amount
        self.log.setdefault(self.reference, []).append(tag)
        self.running -= 1
        return self.total

    @idempotent
    async def read(self):
        """Tell the total."""
        return self.total

    async def fail(self, reason):
        """Refuse."""
        raise InvocationFailed(reason)

    async def crash(self):
        """Raise what is nobody's business."""
        raise RuntimeError("secret")

    async def wait(self, gate, padding=""):
        """Wait for a gate of the test."""
        self.log.setdefault(self.reference, []).append("begun")
        await self.gates[gate].wait()
        return gate

    async def opaque(self):
        """Return what JSON has no form for."""
        return object()


@asynccontextmanager
async def cluster(*names, actor=Ledger, hang=18.0, settings=FAST, **options):
    """Give ``(nodes, wires)`` of a static directory; every node hosts ``actor`` (None: the last one only asks)."""
    actor.log, actor.gates = {}, {}
    infos = [
        NodeInfo(NodeId(name), name, 1, NodeCapabilities((actor.__name__,) if name[0] != "c" else ())) for name in names
    ]
    with anyio.fail_after(hang):
        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            wires = MemoryNetwork(tasks)
            nodes = []
            for info in infos:
                directory = StaticNodeResolver(infos, local=info.id)
                node = ActorNode(info.id, directory, settings=settings, connector=wires.connect, **options)
                node.register(actor)
                server = await stack.enter_async_context(Server([node.service]))
                wires.serve(info.target, server.serve_stream)
                nodes.append(await stack.enter_async_context(node))
                node.server = server
            yield nodes, wires
            await wires.close()


def owned_by(node, *, actor="Ledger", count=1):
    """Return keys of actors that the node's directory gives to the node itself."""
    found = []
    number = 0
    while len(found) < count:
        reference = node.ref(actor, f"k{number}").reference
        if node.directory.cached_owner(reference) == node.node_id:
            found.append(f"k{number}")
        number += 1
    return found
