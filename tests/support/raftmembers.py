"""Nodes of RaftConsensus in this process, each with a server on a port of its own."""

from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from orbit_net.model import NodeId
from orbit_net.raft import (
    GrpcRaftTransport,
    KeyValueStore,
    RaftConfig,
    RaftConsensus,
    ReplicatedKeyValue,
    TimeoutNow,
    start_raft_server,
)
from settle import until

# Nobody loses leadership on a machine that is overloaded; the tests name who stands for election.
CONFIG = RaftConfig(election_timeout=(4.0, 8.0), heartbeat_interval=0.1, proposal_timeout=40.0)


def stand(consensus):
    """Let a node stand for election now."""
    name = str(consensus.node_id)
    consensus.receive(TimeoutNow(consensus.get_current_term(), name, name))


class Member:
    """One node of a test's cluster."""

    def __init__(self, consensus, store, transport, address):
        self.consensus, self.store, self.transport, self.address = consensus, store, transport, address
        self.kv = ReplicatedKeyValue(consensus, store)


class Cluster:
    """Nodes in this process, each with a server on a port of its own."""

    def __init__(self, stack, tasks):
        self.stack, self.tasks = stack, tasks
        self.members = {}

    async def start(self, name, members=(), *, storage=None, config=CONFIG, handlers=()):
        """Start one more node and tell the others where it is."""
        node, store = NodeId(name), KeyValueStore()
        consensus = await self.stack.enter_async_context(
            RaftConsensus(
                node,
                [NodeId(member) for member in members],
                config,
                state_machine=store,
                storage=storage,
                handlers=handlers,
            )
        )
        transport = GrpcRaftTransport(node, {NodeId(m.consensus.node_id.key): m.address for m in self})
        [address] = await self.tasks.start(start_raft_server, consensus, "127.0.0.1:0")
        for other in self:
            other.transport.update_node_address(node, address)
        member = self.members[name] = Member(consensus, store, transport, address)
        await consensus.start(transport)
        return member

    def __iter__(self):
        return iter(self.members.values())

    def __getitem__(self, name):
        return self.members[name]

    async def leader(self):
        """Return the leader, after an election if there is none."""
        if not any(m.consensus.is_leader() for m in self):
            voters = [m for m in self if m.consensus.node_id in m.consensus.get_cluster_nodes()]
            stand(voters[-1].consensus)
        await until(lambda: any(m.consensus.is_leader() for m in self), seconds=40)
        return next(m for m in self if m.consensus.is_leader())


@asynccontextmanager
async def running(names="abc", **options):
    """Give a :class:`Cluster` of these nodes."""
    async with anyio.create_task_group() as tasks:
        async with AsyncExitStack() as stack:
            cluster = Cluster(stack, tasks)
            for name in names:
                await cluster.start(name, names, **options)
            yield cluster
            tasks.cancel_scope.cancel()
