"""Each public coroutine of RaftConsensus is cancelled at every checkpoint that it has, and the cluster works on."""

from itertools import count

import anyio
import pytest
from anyio.lowlevel import checkpoint

from checkpoints import at_every_checkpoint
from orbit_net.errors import NotLeader, ProposalDropped
from orbit_net.model import NodeId
from orbit_net.raft import GrpcRaftTransport, RaftConsensus, UserCommand
from raftmembers import CONFIG, running, stand
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.once]


async def write(cluster, number):
    """Set a value, on whichever node leads in the end."""
    with anyio.fail_after(20):
        while True:
            leader = await cluster.leader()
            try:
                await leader.kv.put("after", number)
            except (NotLeader, ProposalDropped):  # leadership is on its way to another node
                await checkpoint()
            else:
                return


@pytest.fixture
async def every():
    """Run a scenario on one cluster for all cuts; after each one it must take a write, and nobody may be left waiting.

    The scenario is given the leader and a number of its own.
    """
    async with running() as cluster:
        numbers = count()

        async def run(scenario, least=1):
            async def one(knife):
                number = next(numbers)
                leader = await cluster.leader()
                await scenario(knife, leader, number)
                await write(cluster, number)
                await until(lambda: all(m.store.values.get("after") == number for m in cluster))
                await until(lambda: not any(len(m.consensus._driver.waiters) for m in cluster))
                assert not any(m.consensus._conditions._waiting for m in cluster)

            return await at_every_checkpoint(one, least=least)

        yield cluster, run


async def test_propose(every):
    """A proposal is applied once on every node, or on none."""
    cluster, run = every

    async def scenario(knife, leader, number):
        await knife(leader.consensus.propose, UserCommand({"Put": {"key": f"cut-{number}", "value": 1}}))

    cuts = await run(scenario)
    for number in range(cuts):
        assert len({m.store.values.get(f"cut-{number}") for m in cluster}) == 1
    assert cluster["a"].store.values[f"cut-{cuts}"] == 1, "the last one was not cut"


async def test_read_index(every):
    """A read that nobody waits for any more is forgotten when it is confirmed."""
    _, run = every

    async def scenario(knife, leader, number):
        await knife(leader.consensus.read_index)

    await run(scenario)


async def test_transfer_leadership(every):
    """Leadership has moved or not; there is one leader either way."""
    cluster, run = every

    async def scenario(knife, leader, number):
        target = next(m for m in cluster if m is not leader)
        await knife(leader.consensus.transfer_leadership, target.consensus.node_id)
        await until(lambda: sum(m.consensus.is_leader() for m in cluster) == 1, seconds=40)

    await run(scenario)


async def test_add_and_remove_a_node(every):
    """A change of the members is made or not; it can be made to the end, and taken back."""
    _, run = every
    stranger = NodeId("z")

    async def remove(leader):
        if str(stranger) in leader.consensus.status().membership.members:
            await leader.consensus.remove_node(stranger)
        with pytest.raises(ProposalDropped, match="not a member"):
            await leader.consensus.remove_node(stranger)

    async def add(knife, leader, number):
        def join():
            return leader.consensus.add_node(stranger, "127.0.0.1:1", learner=True)

        await knife(join)
        await remove(leader)
        assert stranger not in leader.consensus.get_cluster_nodes()

    await run(add)

    async def take_out(knife, leader, number):
        await leader.consensus.add_node(stranger, "127.0.0.1:1", learner=True)
        await knife(leader.consensus.remove_node, stranger)
        await remove(leader)

    await run(take_out)


async def test_start_and_wait_leader():
    """A node whose start was cancelled can be left; one that was started has its leader."""

    async def start(knife):
        node = NodeId("a")
        async with RaftConsensus(node, [node], CONFIG) as consensus:
            await knife(consensus.start, GrpcRaftTransport(node, {}))
            if not knife.cut:
                stand(consensus)
                assert await consensus.wait_leader() == node

    await at_every_checkpoint(start)

    async def wait(knife):
        node = NodeId("a")
        async with RaftConsensus(node, [node], CONFIG) as consensus:
            await consensus.start(GrpcRaftTransport(node, {}))
            stand(consensus)
            await knife(consensus.wait_leader)
            assert not consensus._conditions._waiting
            assert await consensus.wait_leader() == node

    await at_every_checkpoint(wait, least=0)
