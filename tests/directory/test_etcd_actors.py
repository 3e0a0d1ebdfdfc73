"""Nodes of actors over TCP with etcd as their directory: a node that leaves and one that dies lose nothing."""

import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

from cluster import FAST as LINK
from cluster import Ledger
from etcd_server import FAST, STEADY, etcd, needs_etcd
from orbit_net.directory import EtcdNodeResolver
from orbit_net.errors import ConfigurationError
from orbit_net.messaging import ActorNode
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo, NodeStatus
from orbit_net.server import Server
from settle import until

pytestmark = [pytest.mark.anyio, needs_etcd, pytest.mark.timeout(60)]


@asynccontextmanager
async def member(endpoint, settings, name, *types):
    """Run a node that hosts ``types``."""
    async with EtcdNodeResolver([endpoint], settings=settings) as directory:
        node = ActorNode(NodeId(name), directory, settings=LINK)
        node.register(Ledger)
        async with node, Server([node.service]) as server:
            [target] = await server.listen("127.0.0.1:0")
            port = int(target.rpartition(":")[2])
            info = NodeInfo(node.node_id, "127.0.0.1", port, NodeCapabilities(types))
            await directory.join(info)
            with pytest.raises(ConfigurationError, match="already"):
                await directory.join(info)
            node.server = server
            yield node


async def test_a_node_drains_and_another_dies_and_every_invocation_ends_well():
    """Callers go on while one node leaves and one vanishes: each of their invocations gets its value in the end."""
    Ledger.log.clear()
    async with etcd() as [server], AsyncExitStack() as stack:
        caller, first, second, third = [
            await stack.enter_async_context(member(server.endpoint, *whose))
            for whose in ((STEADY, "c1"), (STEADY, "n1", "Ledger"), (FAST, "n2", "Ledger"), (STEADY, "n3", "Ledger"))
        ]
        await until(lambda: len(caller.directory.nodes) == 4)
        for key in range(30):
            assert await caller.ref("Ledger", key).invoke("add", 1, "before") == 1
        assert all(node.actors.active for node in (first, second, third))
        done, over = 0, False

        async def call(key):
            nonlocal done
            while not over:
                await caller.ref("Ledger", key, idempotent=["add"]).invoke("add", 1, "during")
                done += 1

        async with anyio.create_task_group() as tasks:
            for key in range(30):
                tasks.start_soon(call, key)
            await until(lambda: done > 60)
            await first.drain()
            assert not first.actors.active
            mark = done
            await until(lambda: done > mark + 60)
            # n2 dies: it does not revoke its lease, and its server is gone
            second.directory._membership.leaving = True
            second.directory._membership.lease = None
            second.server.close()
            await until(lambda: NodeId("n2") not in {info.id for info in caller.directory.nodes}, seconds=20)
            mark = done
            await until(lambda: done > mark + 60, seconds=20)
            over = True
        references = [caller.ref("Ledger", key).reference for key in range(30)]
        owners = {await caller.directory.resolve_addressable(reference) for reference in references}
        assert owners == {NodeId("n3")}
        assert first.status is NodeStatus.STOPPED


@contextmanager
def processes(backend, endpoint, leases):
    """Run a node as a process for each name, with its lease; they have joined when the block begins."""
    script = Path(__file__).parents[1] / "support" / "etcd_member.py"
    running = {}
    try:
        for name, lease in leases.items():
            command = [sys.executable, str(script), backend, name, endpoint, str(lease)]
            running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for process in running.values():
            assert process.stdout.readline() == "joined\n"
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.wait()
            process.stdout.close()


async def test_the_actors_of_a_killed_process_move(anyio_backend_name):
    """SIGKILL of a node while its actors are called: each call ends, and the actors live on at the other node."""
    async with etcd() as [server]:
        with processes(anyio_backend_name, server.endpoint, {"p1": FAST.lease, "p2": STEADY.lease}) as nodes:
            async with EtcdNodeResolver([server.endpoint], settings=STEADY) as directory:
                async with ActorNode(NodeId("c1"), directory, settings=LINK) as caller:
                    hosts = {key: (await caller.ref("Where", key).invoke("turn"))[0] for key in range(20)}
                    assert set(hosts.values()) == {"p1", "p2"}
                    nodes["p1"].kill()
                    moved = {}

                    async def call(key):
                        ref = caller.ref("Where", key, timeout=30.0, idempotent=["turn"])
                        while moved.get(key, ["p1"])[0] == "p1":
                            moved[key] = await ref.invoke("turn")

                    async with anyio.create_task_group() as tasks:
                        for key in hosts:
                            tasks.start_soon(call, key)
                    assert {name for name, _ in moved.values()} == {"p2"}
                    kept = {key for key, name in hosts.items() if name == "p2"}
                    assert {key for key, (_, turns) in moved.items() if turns > 1} == kept, "the others begin anew"
                    assert [info.id.key for info in directory.nodes] == ["p2"]
