"""Each public coroutine of the etcd directory is cancelled at every checkpoint that it has, and it works on."""

import anyio
import pytest

from checkpoints import at_every_checkpoint
from etcd_server import FAST, STEADY, etcd, needs_etcd
from orbit_net.directory import EtcdNodeResolver
from orbit_net.errors import AddressableNotFound
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeStatus, StringKey
from settle import until

pytestmark = [pytest.mark.anyio, needs_etcd, pytest.mark.timeout(60)]


def info(name):
    """Describe a node that hosts ledgers."""
    return NodeInfo(NodeId(name), "127.0.0.1", 1, NodeCapabilities(("Ledger",)))


def actor(key):
    """Name a ledger."""
    return AddressableReference("Ledger", StringKey(str(key)))


async def test_questions():
    """An actor is placed or not, a node is found or not; asked again, all say the same."""
    async with etcd() as [server]:
        async with (
            EtcdNodeResolver([server.endpoint], node=info("n1"), settings=STEADY) as first,
            EtcdNodeResolver([server.endpoint], node=info("n2"), settings=STEADY) as second,
        ):

            async def place(knife):
                reference = actor(f"place-{knife.ticks}")
                await knife(first.resolve_addressable, reference)
                owner = await second.resolve_addressable(reference)
                assert await first.resolve_addressable(reference) == owner

            await at_every_checkpoint(place)

            async def release(knife):
                reference = actor(f"release-{knife.ticks}")
                owner = await first.resolve_addressable(reference)
                holder = first if owner == NodeId("n1") else second
                await knife(holder.release, reference)
                assert await first.resolve_addressable(reference) == await second.resolve_addressable(reference)

            await at_every_checkpoint(release)

            async def find(knife):
                first._members.pop(first._keys.node(NodeId("n2")), None)  # it has to ask
                await knife(first.resolve_node, NodeId("n2"))
                assert await first.resolve_node(NodeId("n2")) == "127.0.0.1:1"

            await at_every_checkpoint(find)
            assert not any(len(channel.timers) for channel in first._client._channels)


async def test_membership():
    """A node has joined or not, drains or not; leaving the block takes it out either way."""
    async with etcd() as [server]:
        async with EtcdNodeResolver([server.endpoint], settings=STEADY) as onlooker:

            async def join(knife):
                name = f"j{knife.ticks}"
                async with EtcdNodeResolver([server.endpoint], settings=STEADY) as resolver:
                    await knife(resolver.join, info(name))
                    if knife.cut and resolver.node is None:
                        await resolver.join(info(name))
                    assert resolver.lease is not None
                    assert await resolver.resolve_node(NodeId(name)) == "127.0.0.1:1"

            await at_every_checkpoint(join)

            async def drain(knife):
                name = f"d{knife.ticks}"
                async with EtcdNodeResolver([server.endpoint], node=info(name), settings=STEADY) as resolver:
                    await knife(resolver.set_status, NodeStatus.DRAINING)
                    await resolver.set_status(NodeStatus.DRAINING)
                    with pytest.raises(AddressableNotFound):
                        await resolver.resolve_addressable(actor(name))

            await at_every_checkpoint(drain)
            with pytest.raises(AddressableNotFound):
                await onlooker.resolve_addressable(actor("late"))
            assert onlooker.nodes == (), "nobody is left"


async def test_entering_and_leaving():
    """A resolver whose entering was cancelled holds nothing; one that is left early has left."""
    async with etcd() as [server]:

        async def enter(knife):
            resolver = EtcdNodeResolver([server.endpoint], node=info("n1"), settings=STEADY)

            async def use():
                async with resolver:
                    await resolver.resolve_addressable(actor("a"))

            await knife(use)
            async with EtcdNodeResolver([server.endpoint], node=info("n1"), settings=STEADY) as again:
                assert await again.resolve_addressable(actor("a")) == NodeId("n1")

        await at_every_checkpoint(enter)


async def test_a_status_that_was_cut_off_is_told_with_the_next_keepalive():
    """A drain that nobody heard of is not forgotten."""
    async with etcd() as [server]:
        async with (
            EtcdNodeResolver([server.endpoint], settings=FAST) as onlooker,
            EtcdNodeResolver([server.endpoint], node=info("n1"), settings=FAST) as resolver,
        ):
            await until(lambda: len(onlooker.nodes) == 1)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await resolver.set_status(NodeStatus.DRAINING)
            assert scope.cancelled_caught
            await until(lambda: onlooker.nodes[0].status is NodeStatus.DRAINING, seconds=20)
