"""The static directory: the same answer everywhere, and what is learnt on the way."""

import pytest

from orbit_net.directory import StaticNodeResolver, choose
from orbit_net.errors import AddressableNotFound, ConfigurationError, NodeNotFound
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeStatus, StringKey

pytestmark = pytest.mark.anyio

NODES = [NodeInfo(NodeId(name), name, 1, NodeCapabilities(("Account",))) for name in ("a", "b", "c")]
KEYS = [AddressableReference("Account", StringKey(str(number))) for number in range(300)]


def owners(directory):
    """Return who owns each actor."""
    return {key: directory.cached_owner(key) for key in KEYS}


async def test_every_node_gives_the_same_answer_and_spreads_the_actors():
    """The order of the list does not matter; each node has its share."""
    first, second = StaticNodeResolver(NODES), StaticNodeResolver(NODES[::-1])
    assert owners(first) == owners(second)
    shares = [list(owners(first).values()).count(info.id) for info in NODES]
    assert min(shares) > 60
    assert await first.resolve_addressable(KEYS[0]) == first.cached_owner(KEYS[0])
    assert await first.resolve_node(NodeId("b")) == "b:1"


async def test_a_node_that_drains_moves_its_own_actors_alone():
    """And gets the same ones back when it is active again; subscribers hear of both."""
    directory, seen = StaticNodeResolver(NODES, local=NodeId("a")), []
    stop = directory.subscribe(lambda node, status: seen.append((node.key, status)))
    before = owners(directory)
    await directory.set_status(NodeStatus.DRAINING)
    after = owners(directory)
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == NodeId("a")}
    directory.node_status(NodeId("a"), NodeStatus.ACTIVE)
    assert owners(directory) == before
    assert seen == [("a", NodeStatus.DRAINING), ("a", NodeStatus.ACTIVE)]
    stop()
    directory.node_status(NodeId("stranger"), NodeStatus.STOPPED)
    directory.remove(NodeId("c"))
    assert len(seen) == 2
    assert directory.others() == (NodeId("b"),)


async def test_what_a_node_sends_away_is_elsewhere():
    """Until it says ACTIVE again; where it was found counts more than who sent it away before."""
    directory, key = StaticNodeResolver(NODES), KEYS[0]
    first = directory.cached_owner(key)
    directory.disowned(key, first)
    second = directory.cached_owner(key)
    assert second != first
    directory.disowned(key, second, found=first)
    assert directory.cached_owner(key) == first
    for info in NODES:
        directory.disowned(key, info.id)
    assert directory.cached_owner(key) == first, "all of them cannot be right"
    directory.node_status(second, NodeStatus.DRAINING)
    directory.node_status(second, NodeStatus.ACTIVE)
    assert directory.cached_owner(key) == second


async def test_what_is_not_listed_is_not_found():
    """A node, a type, and a list that names a node twice."""
    directory = StaticNodeResolver(NODES)
    with pytest.raises(NodeNotFound):
        await directory.resolve_node(NodeId("d"))
    with pytest.raises(AddressableNotFound):
        await directory.resolve_addressable(AddressableReference("Ghost", StringKey("")))
    with pytest.raises(ConfigurationError, match="twice"):
        StaticNodeResolver([*NODES, NODES[0]])
    directory.add(NodeInfo(NodeId("d"), "d", 2))
    assert await directory.resolve_node(NodeId("d")) == "d:2"
    assert choose(KEYS[0], []) is None
