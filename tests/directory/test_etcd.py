"""The directory in a real etcd: one owner, leases, restarts, lost members, logging in, TLS."""

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from certificates import Site
from etcd_server import FAST, STEADY, etcd, needs_etcd
from orbit_net.directory import EtcdClient, EtcdNodeResolver
from orbit_net.errors import AddressableNotFound, ConfigurationError, NodeNotFound, OrbitError, OrbitTimeout, RpcError
from orbit_net.model import AddressableReference, Int64Key, NodeCapabilities, NodeId, NodeInfo, NodeStatus, StringKey
from orbit_net.proto.authpb import Permission, PermissionType
from orbit_net.proto.etcdserverpb import (
    AuthEnableRequest,
    AuthRoleAddRequest,
    AuthRoleGrantPermissionRequest,
    AuthUserAddRequest,
    AuthUserGrantRoleRequest,
)
from orbit_net.proto.etcdserverpb.services import AuthStub
from patience import until_begun
from settle import until

pytestmark = [pytest.mark.anyio, needs_etcd, pytest.mark.timeout(60)]


def info(name, *types, port=1):
    """Describe a node that hosts ``types``."""
    return NodeInfo(NodeId(name), "127.0.0.1", port, NodeCapabilities(types))


def actor(key, kind="Account"):
    """Name an actor."""
    return AddressableReference(kind, StringKey(key) if isinstance(key, str) else Int64Key(key))


def resolver(servers, node=None, *, settings=STEADY, **options):
    """Make a resolver of all members."""
    return EtcdNodeResolver([server.endpoint for server in servers], node=node, settings=settings, **options)


async def test_twenty_claimants_find_one_owner():
    """20 resolvers, each with its own node, place the same actors at once: all of them name the same owners."""
    async with etcd() as servers, AsyncExitStack() as stack:
        resolvers = []
        for number in range(20):
            node = resolver(servers, info(f"n{number}", "Account"))
            resolvers.append(await stack.enter_async_context(node))
        answers = {}

        async def claim(index, key):
            answers[index, key] = await resolvers[index].resolve_addressable(actor(key))

        async with anyio.create_task_group() as tasks:
            for key in range(10):
                for index in range(20):
                    tasks.start_soon(claim, index, key)
        owners = [{answers[index, key] for index in range(20)} for key in range(10)]
        assert [len(owner) for owner in owners] == [1] * 10
        assert len(set.union(*owners)) > 1, "they are spread"
        held = await resolvers[0]._client.range(b"/orbit/default/actors/", b"/orbit/default/actors0")
        assert Counter(pair.lease != 0 for pair in held.kvs) == {True: 10}


async def test_members_come_drain_and_go():
    """Every member sees the others join, drain and leave; what they owned is free, and goes elsewhere."""
    async with etcd() as servers, resolver(servers, info("n1", "Account")) as first:
        seen = []
        first.subscribe(lambda node, status: seen.append((node.key, status)))
        async with resolver(servers, info("n2", "Account", "Ledger", port=2)) as second:
            await until(lambda: seen == [("n2", NodeStatus.ACTIVE)])
            assert await first.resolve_node(NodeId("n2")) == "127.0.0.1:2"
            assert await first.resolve_addressable(actor("a", "Ledger")) == NodeId("n2")
            assert first.cached_owner(actor("a", "Ledger")) == NodeId("n2")
            assert await second.resolve_addressable(actor("a", "Ledger")) == NodeId("n2")
            await second.release(actor("a", "Ledger"))
            await until(lambda: first.cached_owner(actor("a", "Ledger")) is None)
            await first.resolve_addressable(actor("a", "Ledger"))
            await second.set_status(NodeStatus.DRAINING)
            await until(lambda: seen[1:] == [("n2", NodeStatus.DRAINING)])
            assert await first.resolve_addressable(actor("a", "Ledger")) == NodeId("n2"), "it keeps what it has"
            with pytest.raises(AddressableNotFound):
                await first.resolve_addressable(actor("b", "Ledger"))
            assert {await first.resolve_addressable(actor(key)) for key in range(9)} == {NodeId("n1")}
        await until(lambda: seen[2:] == [("n2", NodeStatus.STOPPED)])
        with pytest.raises(NodeNotFound):
            await first.resolve_node(NodeId("n2"))
        with pytest.raises(AddressableNotFound):
            await first.resolve_addressable(actor("a", "Ledger"))
        assert repr(first).startswith("<EtcdNodeResolver of 1 nodes, ")


async def test_a_killed_nodes_actors_move_when_its_lease_runs_out():
    """A node that says nothing any more is gone after its lease, and its actors with it."""
    async with etcd() as servers, resolver(servers, info("n1", "Account")) as first:
        async with resolver(servers, info("n2", "Ledger"), settings=FAST) as second:
            reference = actor("x", "Ledger")
            assert await first.resolve_addressable(reference) == NodeId("n2")
            second._membership.leaving = True  # as if it were killed: nothing is prolonged, nothing is revoked
            second._membership.lease = None
        assert await first.resolve_addressable(reference) == NodeId("n2"), "the lease still runs"
        async with resolver(servers, info("n3", "Ledger")):
            await until(lambda: first.cached_owner(reference) is None, seconds=20)
            owner = None
            while owner != NodeId("n3"):
                owner = await first.resolve_addressable(reference)
            assert [node.id.key for node in first.nodes] == ["n1", "n3"]


async def test_a_node_that_loses_its_lease_says_so_and_comes_back():
    """Its subscribers hear STOPPED, then ACTIVE; what it owned is free."""
    async with etcd() as servers, resolver(servers, info("n1", "Account")) as first:
        seen = []
        first.subscribe(lambda node, status: seen.append(status))
        assert await first.resolve_addressable(actor("a")) == NodeId("n1")
        old = first.lease
        await first._client.revoke(old)
        await until(lambda: seen == [NodeStatus.STOPPED, NodeStatus.ACTIVE], seconds=20)
        assert first.cached_owner(actor("a")) is None
        assert first.lease not in (None, old)
        assert await first.resolve_addressable(actor("a")) == NodeId("n1")


async def test_a_node_that_starts_again_takes_over_its_own_name():
    """Its earlier life's lease is revoked at once, with the actors of that life."""
    async with etcd() as servers:
        early = resolver(servers, info("n1", "Account"))
        async with early:
            await early.resolve_addressable(actor("a"))
            early._membership.leaving, early._membership.lease = True, None
        async with resolver(servers, info("n1", "Account", port=9)) as late:
            assert await late.resolve_node(NodeId("n1")) == "127.0.0.1:9"
            answer = await late._client.range(late._keys.actor(actor("a")))
            assert not answer.kvs


async def test_etcd_restarted_under_load():
    """Nothing hangs: each question has an answer or an error in its time, and afterwards all are answered again."""
    async with etcd() as servers, resolver(servers, info("n1", "Account")) as first:
        over, answered, failed = False, Counter(), Counter()

        async def ask(task):
            number = 0
            while not over:
                number += 1
                try:
                    await first.resolve_addressable(actor(f"{task}-{number}"))
                    answered[servers_up] += 1
                except OrbitError:
                    failed[servers_up] += 1
                await anyio.sleep(0.005)

        servers_up = 1
        async with anyio.create_task_group() as tasks:
            for task in range(10):
                tasks.start_soon(ask, task)
            await until(lambda: answered[1] > 20)
            servers[0].kill()
            servers_up = 2
            await anyio.sleep(0.3)
            servers[0].start()
            await servers[0].ready()
            servers_up = 3
            await until(lambda: answered[3] > 50, seconds=30)
            over = True
        syncs = first.syncs
        assert syncs >= 2, "the watch was opened again"
        async with resolver(servers, info("n2", "Ledger")):
            await until(lambda: len(first.nodes) == 2, seconds=20)


async def test_a_cluster_of_three_goes_on_without_one():
    """Whichever member is killed, questions, leases and watches go on at the others."""
    async with etcd(3) as servers, resolver(servers, info("n1", "Account"), settings=FAST) as first:
        assert await first.resolve_addressable(actor("before")) == NodeId("n1")
        killed = first._client._current
        servers[killed].kill()
        for number in range(10):
            assert await first.resolve_addressable(actor(number)) == NodeId("n1")
        seen = []
        first.subscribe(lambda node, status: seen.append((node.key, status)))
        alive = [server for index, server in enumerate(servers) if index != killed]
        async with resolver(alive, info("n2", "Ledger")):
            await until(lambda: ("n2", NodeStatus.ACTIVE) in seen or len(first.nodes) == 2, seconds=30)
            await anyio.sleep(FAST.lease)  # nothing but time shows that the lease is kept
            # The election may have outlasted it on a slow machine; then there is another one.
            await until(lambda: first.lease is not None, seconds=15)


async def test_user_and_password():
    """Questions, leases and watches carry a token; a wrong password and none are refused; a lost token is renewed."""
    async with etcd() as servers:
        async with EtcdClient([servers[0].endpoint], settings=FAST) as client:
            every = Permission(perm_type=PermissionType.READWRITE, key=b"/", range_end=b"0")
            for ask in (
                lambda stub, options: stub.user_add(AuthUserAddRequest(name="root", password="r"), **options),
                lambda stub, options: stub.role_add(AuthRoleAddRequest(name="root"), **options),
                lambda stub, options: stub.user_grant_role(
                    AuthUserGrantRoleRequest(user="root", role="root"), **options
                ),
                lambda stub, options: stub.user_add(AuthUserAddRequest(name="orbit", password="secret"), **options),
                lambda stub, options: stub.role_add(AuthRoleAddRequest(name="nodes"), **options),
                lambda stub, options: stub.role_grant_permission(
                    AuthRoleGrantPermissionRequest(name="nodes", perm=every), **options
                ),
                lambda stub, options: stub.user_grant_role(
                    AuthUserGrantRoleRequest(user="orbit", role="nodes"), **options
                ),
                lambda stub, options: stub.auth_enable(AuthEnableRequest(), **options),
            ):
                await client.ask(lambda channel, options, ask=ask: ask(AuthStub(channel), options))
        node = info("n1", "Account")
        async with resolver(servers, node, user="orbit", password="secret") as first:
            assert await first.resolve_addressable(actor("a")) == NodeId("n1")
            first._client._token = "lost"
            assert await first.resolve_addressable(actor("b")) == NodeId("n1")
            seen = []
            first.subscribe(lambda node, status: seen.append(node.key))
            async with resolver(servers, info("n2", "Ledger"), user="orbit", password="secret"):
                await until(lambda: seen == ["n2"])
        for options in ({}, {"user": "orbit", "password": "wrong"}):
            with pytest.raises(RpcError):
                async with resolver(servers, node, **options):
                    pass
    with pytest.raises(ConfigurationError, match="together"):
        EtcdClient(["h:1"], user="orbit")
    with pytest.raises(ConfigurationError, match="at least one"):
        EtcdClient([])


async def test_nobody_there():
    """Entering without an etcd ends with OrbitTimeout, in time."""
    nobody = EtcdNodeResolver(["127.0.0.1:1"], settings=replace(FAST, timeout=0.3))
    with pytest.raises(OrbitTimeout, match="no endpoint"):
        async with nobody:
            pass


async def test_tls(tmp_path):
    """Questions, leases and watches go over TLS with a certificate of our own; a stranger's server is not trusted."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    site, other = Site(tmp_path / "ours"), Site(tmp_path / "theirs")
    server_tls = site.for_mtls()
    extra = (
        f"--cert-file={server_tls.certificate}",
        f"--key-file={server_tls.private_key}",
        f"--trusted-ca-file={server_tls.ca}",
        "--client-cert-auth",
    )
    tls = site.with_certificate()
    async with etcd(ready=False, extra=extra) as servers:
        await servers[0].ready(tls=tls)
        async with resolver(servers, info("n1", "Account"), tls=tls) as first:
            assert await first.resolve_addressable(actor("a")) == NodeId("n1")
            seen = []
            first.subscribe(lambda node, status: seen.append(node.key))
            async with resolver(servers, info("n2", "Ledger"), tls=tls):
                await until(lambda: seen == ["n2"])
        told = ""

        async def distrust(timeout):
            nonlocal told
            settings = replace(FAST, timeout=timeout)
            with pytest.raises(OrbitTimeout, match=r"certificate|DEADLINE_EXCEEDED") as raised:
                async with EtcdNodeResolver([servers[0].endpoint], tls=other.with_certificate(), settings=settings):
                    pass
            told = str(raised.value)

        await until_begun(distrust, lambda: "certificate" in told, first=0.5)
