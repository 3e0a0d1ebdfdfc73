"""Nodes of actors: invocations find their actor wherever it lives, and every one comes to an end."""

import anyio
import pytest
from cluster import FAST, Ledger, cluster, owned_by
from settle import until

from orbit_net.errors import (
    AddressableNotFound,
    ConfigurationError,
    ConnectionLost,
    InvocationFailed,
    OrbitTimeout,
)
from orbit_net.model import NodeId, NodeStatus

pytestmark = pytest.mark.anyio


async def test_an_invocation_finds_its_actor_on_any_node():
    """Each node invokes each actor, its own and the others', by name and by proxy."""
    async with cluster("n1", "n2", "n3") as (nodes, _):
        for key in range(12):
            for node in nodes:
                await node.ref("Ledger", key).invoke("add", amount=1)
            assert await nodes[0].proxy(Ledger, key).add(1) == 4
            assert await nodes[1].ref(Ledger, key).invoke("add", 2, "tag") == 6
        assert sum(len(node.actors.active) for node in nodes) == 12
        assert all(node.actors.active for node in nodes)
