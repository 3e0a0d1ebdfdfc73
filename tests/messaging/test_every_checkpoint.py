"""Each public coroutine of actors and links is cancelled at every checkpoint that it has, and everything works on."""

from collections import Counter

import anyio
import pytest

from checkpoints import at_every_checkpoint
from cluster import Ledger, cluster, owned_by
from orbit_net.model import NodeStatus
from settle import turns, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.once]


def idle(node):
    """Whether the node waits for nothing and nobody waits for it."""
    links = node._links._links.values()
    pending = sum(len(link._pending) + len(link._row.waiting) for link in links)
    waiting = sum(activation.size for activation in node.actors._activations.values())
    return not (pending or waiting or node._looking or len(node._links.timers))


@pytest.fixture(params=["warm", "cold"])
def every(request):
    """Run a scenario with a fresh cluster for each cut: its actor and links are there already, or not.

    Afterwards the actor must answer to every node, no invocation may have run twice, and nothing may be left waiting.
    """

    async def run(scenario, least=1):
        async def one(knife):
            async with cluster("n1", "n2", "c1") as (nodes, _):
                first, second, caller = nodes
                [key] = owned_by(first)
                if request.param == "warm":
                    for node in nodes:
                        await node.ref("Ledger", key).invoke("add", 0, "warm")
                await scenario(knife, nodes, key)
                for node in (second, caller):
                    assert isinstance(await node.ref("Ledger", key).invoke("add", 0, "after"), int)
                await until(lambda: all(map(idle, nodes)))
                runs = Counter(tag for log in Ledger.log.values() for tag in log)
                assert runs["cut"] <= 1

        return await at_every_checkpoint(one, least=least)

    return run


@pytest.mark.parametrize("who", [0, 2])
async def test_invoke(every, who):
    """An invocation of the node's own actor, and of another node's, is carried out once or not at all."""

    async def scenario(knife, nodes, key):
        await knife(nodes[who].ref("Ledger", key).invoke, "add", 1, "cut")

    await every(scenario, least=0)


async def test_invoke_by_a_route(every):
    """An invocation that passes a node between is forgotten there as well."""

    async def scenario(knife, nodes, key):
        _, second, caller = nodes
        await knife(caller.ref("Ledger", key, via=[second.node_id]).invoke, "add", 1, "cut")

    await every(scenario)


async def test_invoke_that_waits_for_a_busy_actor(every):
    """The invocation that waits in the mailbox is not begun once its caller has gone."""

    async def scenario(knife, nodes, key):
        gate = Ledger.gates["g"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nodes[0].ref("Ledger", key).invoke, "wait", "g")
            await until(lambda: any("begun" in log for log in Ledger.log.values()))

            async def behind():
                await nodes[0].ref("Ledger", key).invoke("add", 1, "cut")

            async def open_gate():
                await turns(20)
                gate.set()

            tasks.start_soon(open_gate)
            await knife(behind)

    await every(scenario)


async def test_info(every):
    """Asking a peer in the stream who it is leaves the link as it was."""

    async def scenario(knife, nodes, key):
        first, _, caller = nodes
        link = await caller._links.open(first.node_id)
        await knife(link.info)
        assert await link.info() == first.node_id

    await every(scenario)


async def test_drain(every):
    """A node whose drain was cancelled is draining, sends on what comes, and can be drained to the end."""

    async def scenario(knife, nodes, key):
        first = nodes[0]
        await knife(first.drain)
        if knife.cut:
            assert first.status in (NodeStatus.ACTIVE, NodeStatus.DRAINING, NodeStatus.STOPPED)
        await first.drain()
        assert first.status is NodeStatus.STOPPED
        assert not first.actors.active

    await every(scenario)


async def test_announce(every):
    """Telling the others is told to each of them or not; the node goes on."""

    async def scenario(knife, nodes, key):
        await knife(nodes[0].announce)
        await nodes[0].announce()

    await every(scenario)
