"""Nodes of actors: invocations find their actor wherever it lives, and every one comes to an end."""

import anyio
import pytest

from cluster import FAST, Ledger, cluster, owned_by
from orbit_net.errors import (
    AddressableNotFound,
    ConfigurationError,
    ConnectionLost,
    InvocationFailed,
    OrbitTimeout,
)
from orbit_net.model import Failure, Invocation, NodeId, NodeStatus, RoutedUnicast
from settle import until

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


async def test_one_invocation_of_an_actor_at_a_time_in_order():
    """32 callers at once on three nodes: each caller's invocations run in its order, and no two overlap."""
    async with cluster("n1", "n2", "n3") as (nodes, _):
        totals = []

        async def call(caller):
            ref = nodes[caller % 3].ref("Ledger", "shared")
            totals.extend([await ref.invoke("add", 1, [caller, number]) for number in range(10)])

        async with anyio.create_task_group() as tasks:
            for caller in range(32):
                tasks.start_soon(call, caller)
        assert sorted(totals) == list(range(1, 321))
        [log] = Ledger.log.values()
        for caller in range(32):
            assert [number for who, number in log if who == caller] == list(range(10))


@pytest.mark.parametrize("remote", [False, True])
async def test_each_kind_of_refusal_says_why(remote):
    """Unknown type and method, bad arguments, an actor's own error, a crash, an opaque value: InvocationFailed."""
    async with cluster("n1", "c1") as ([node, caller], _):
        asker = caller if remote else node
        ref = asker.ref("Ledger", "a")
        for method, arguments, reason in [
            ("nope", (), "there is no method 'nope'"),
            ("add", (1, 2, 3), "the arguments do not fit"),
            ("_private", (), "there is no method"),
            ("fail", ("no money",), "no money"),
            ("crash", (), "the invocation failed with RuntimeError"),
            ("opaque", (), "cannot be written as JSON"),
        ]:
            with pytest.raises(InvocationFailed, match=reason) as caught:
                await ref.invoke(method, *arguments)
            assert (caught.value.actor_type, caught.value.method) == ("Ledger", method)
            assert "Py" in caught.value.platform
            assert "secret" not in str(caught.value)
        with pytest.raises(InvocationFailed, match="do not fit"):
            await ref.invoke("add", sum=1)
        with pytest.raises(ConfigurationError, match="JSON"):
            await ref.invoke("add", object())
        with pytest.raises(ConfigurationError, match="one kind"):
            await ref.invoke("add", 1, tag=2)
        with pytest.raises(AddressableNotFound):
            await asker.ref("Ghost", 1).invoke("boo")
        assert await ref.invoke("add", 5) == 5


async def test_a_message_for_an_actor_that_lives_elsewhere_is_rerouted():
    """A node that is asked for another's actor passes the question on, and the asker learns where the actor is."""
    async with cluster("n1", "n2", "c1") as ([first, second, caller], _):
        [key] = owned_by(second)
        reference = caller.ref("Ledger", key).reference
        caller.directory.disowned(reference, second.node_id)  # a wrong belief: it is at n1
        assert caller.directory.cached_owner(reference) == first.node_id
        assert await caller.ref("Ledger", key).invoke("add", 1) == 1
        assert second.actors.active == (reference,)
        assert not first.actors.active


async def test_a_routed_message_passes_every_node_of_its_route():
    """Hop by hop, and back the same way; a route that names a node twice is refused and never arrives."""
    async with cluster("n1", "n2", "n3", "c1") as ([first, second, third, caller], _):
        [key] = owned_by(third)
        ref = caller.ref("Ledger", key, via=[first.node_id, second.node_id])
        assert await ref.invoke("add", 1) == 1
        assert [len(node._links) for node in (caller, first, second, third)] == [1, 1, 1, 0]
        link = caller._links.get(first.node_id)
        for loop in ([first, second, first], [first, second, caller, second], [second, first]):
            way = RoutedUnicast(tuple(node.node_id for node in loop))
            question = Invocation(ref.reference, "add", "[1]")
            answer = await link.ask(question, until=anyio.current_time() + 10, target=way)
            assert isinstance(answer.content, Failure)
            assert "loop" in answer.content.description
        assert await caller.ref("Ledger", key).invoke("read") == 1


async def test_two_nodes_that_name_each_other_do_not_pass_a_message_for_ever():
    """The number of deliveries is bounded, and the asker hears of it."""
    async with cluster("n1", "n2", "c1") as ([first, second, caller], _):
        [key] = owned_by(first)
        reference = caller.ref("Ledger", key).reference
        for node, belief in ((first, second.node_id), (second, first.node_id)):
            node.directory.cached_owner = lambda reference, belief=belief: belief
            node.directory.disowned = lambda reference, node_id, found=None: None
        link = await caller._links.open(first.node_id)
        answer = await link.ask(Invocation(reference, "add", "[1]"), until=anyio.current_time() + 10)
        assert answer.content == Failure("Ledger/k0 was looked for 64 times and is nowhere".replace("k0", key))
        assert reference not in Ledger.log


async def test_a_lost_connection_repeats_only_what_is_idempotent():
    """A method that may have run fails with ConnectionLost; one that is marked is sent again and gives its value."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        Ledger.gates["g"] = anyio.Event()
        ref = caller.ref("Ledger", "a")
        log = lambda: Ledger.log.get(ref.reference, [])  # noqa: E731

        async def lose():
            with pytest.raises(ConnectionLost, match="may have been carried out"):
                await ref.invoke("wait", "g")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            await until(lambda: log() == ["begun"])
            await wires.cut()
        Ledger.gates["g"].set()
        assert await ref.invoke("add", 1, "after") == 1
        assert log() == ["begun", "after"]

        Ledger.gates["h"] = anyio.Event()
        again = caller.ref("Ledger", "b", idempotent=["wait"])
        results = []

        async def repeat():
            results.append(await again.invoke("wait", "h"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repeat)
            await until(lambda: Ledger.log.get(again.reference) == ["begun"])
            await wires.cut()
            Ledger.gates["h"].set()
        assert results == ["h"]


async def test_a_peer_that_is_down_is_tried_until_the_time_is_up():
    """What was never sent is tried again: a value when the peer is back, OrbitTimeout when it is not."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        wires.down.add("n1:1")
        with pytest.raises(OrbitTimeout, match="in time"):
            await caller.ref("Ledger", "a", timeout=0.1).invoke("add", 1)
        values = []

        async def call():
            values.append(await caller.ref("Ledger", "a").invoke("add", 1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.lowlevel.checkpoint()
            wires.down.clear()
        assert values == [1]


@pytest.mark.parametrize("remote", [False, True])
async def test_an_invocation_ends_by_its_timeout(remote):
    """The caller gets OrbitTimeout, the method runs on, and the next invocation is answered."""
    async with cluster("n1", "c1") as ([node, caller], _):
        Ledger.gates["g"] = anyio.Event()
        ref = (caller if remote else node).ref("Ledger", "a", timeout=0.05)
        with pytest.raises(OrbitTimeout):
            await ref.invoke("wait", "g")
        Ledger.gates["g"].set()
        assert await caller.ref("Ledger", "a").invoke("add", 1) == 1


async def test_a_cancelled_caller_leaves_nothing_behind():
    """The link, the actor and the timers forget it."""
    async with cluster("n1", "c1") as ([node, caller], _):
        Ledger.gates["g"] = anyio.Event()
        with anyio.move_on_after(0.05) as scope:
            await caller.ref("Ledger", "a").invoke("wait", "g")
        assert scope.cancelled_caught
        link = caller._links.get(node.node_id)
        assert (len(link._pending), len(link._timers)) == (0, 0)
        Ledger.gates["g"].set()
        assert await caller.ref("Ledger", "a").invoke("add", 1) == 1


class Pair:
    """An actor that calls another one."""

    node = None
    log, gates = {}, {}

    def __init__(self, reference):
        self.reference = reference

    async def call(self, path):
        """Call the actors of a path, one through the other."""
        if not path:
            return "end"
        return await self.node.ref("Pair", path[0]).invoke("call", path[1:])


async def test_a_call_that_waits_for_itself_is_refused_at_once():
    """Directly and through another actor of the node; a chain without a loop goes through."""
    async with cluster("n1", actor=Pair) as ([node], _):
        Pair.node = node
        assert await node.ref("Pair", "a").invoke("call", ["b", "c"]) == "end"
        for path in (["a"], ["b", "a"]):
            with pytest.raises(InvocationFailed, match="not re-entrant"):
                await node.ref("Pair", "a").invoke("call", path)
        assert await node.ref("Pair", "a").invoke("call", []) == "end"


async def test_a_drained_node_moves_its_actors_and_loses_nothing():
    """While callers go on, one node leaves: every invocation gets its value, and the actors live elsewhere."""
    async with cluster("n1", "n2", "n3", "c1") as ([first, second, third, caller], _):
        keys = owned_by(first, count=5) + owned_by(second, count=2)
        for key in keys:
            await caller.ref("Ledger", key).invoke("add", 1, "before")
        done = 0
        over = anyio.Event()

        async def call(key):
            nonlocal done
            while not over.is_set():
                await caller.ref("Ledger", key).invoke("add", 1, "during")
                done += 1

        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(call, key)
            await until(lambda: done > 20)
            await first.drain()
            await first.server.drain(grace=1.0)
            assert first.status is NodeStatus.STOPPED
            mark = done
            await until(lambda: done > mark + 20)
            over.set()
        assert not first.actors.active
        assert sum(log.count("during") for log in Ledger.log.values()) == done
        for node in (second, third, caller):
            info = next(info for info in node.directory.nodes if info.id == first.node_id)
            assert info.status is NodeStatus.STOPPED
        for key in keys:
            assert await third.ref("Ledger", key).invoke("add", 0) >= 0
        # a node that comes back is told to the others and gets its actors again
        for node in (second, third, caller):
            node.directory.node_status(first.node_id, NodeStatus.ACTIVE)
            assert node.directory.cached_owner(node.ref("Ledger", keys[0]).reference) == first.node_id


async def test_the_news_that_a_node_has_gone_may_overtake_its_answers():
    """What the node had carried out gives its value; what it had not read is carried out elsewhere."""
    async with cluster("n1", "n2", "c1") as ([first, second, caller], _):
        [key] = owned_by(first)
        Ledger.gates["g"] = anyio.Event()
        ref = caller.ref("Ledger", key)
        values = []

        async def call():
            values.append(await ref.invoke("wait", "g"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: Ledger.log)
            for node in (second, caller):
                node.directory.node_status(first.node_id, NodeStatus.STOPPED)
            assert await ref.invoke("add", 1) == 1  # on the other node
            tasks.start_soon(first.drain)
            await until(lambda: first.status is NodeStatus.DRAINING)
            assert not values
            Ledger.gates["g"].set()
        assert values == ["g"]
        assert second.actors.hosts(ref.reference)
        [info] = [info for info in caller.directory.nodes if info.id == first.node_id]
        assert info.status is NodeStatus.STOPPED


async def test_an_invocation_too_large_for_a_message_is_refused_alone():
    """It does not end the stream with everything in it; nor does a value that is too large."""
    async with cluster("n1", "c1") as ([node, caller], _):
        ref = caller.ref("Ledger", "a")
        with pytest.raises(ConfigurationError, match="more than"):
            await ref.invoke("add", 1, "x" * 4_100_000)
        Ledger.gates["x" * 4_100_000] = anyio.Event()
        assert await ref.invoke("add", 1, "\ud800") == 1
        assert caller._links.get(node.node_id).connections == 1


async def test_nodes_and_references_show_what_they_are():
    """repr tells state and counts."""
    async with cluster("n1", "c1") as ([node, caller], _):
        ref = caller.ref("Ledger", "a")
        await ref.invoke("add", 1)
        assert repr(ref) == "<ActorRef Ledger/a>"
        assert repr(caller.proxy(Ledger, "a")) == "<ActorProxy Ledger/a>"
        assert repr(node).startswith("<ActorNode default:n1 ACTIVE, <ActorServer of 1 types, 1 active, 0 closing>, 0 ")
        assert repr(caller._links.get(node.node_id)) == "<Link to default:n1 open, 0 queued, 0 in flight>"
        assert repr(node.directory) == "<StaticNodeResolver of 2 nodes, 2 active>"
        assert await caller._links.get(node.node_id).info() == NodeId("n1")
    with pytest.raises(AttributeError):
        _ = caller.proxy(Ledger, "a").nope
    assert FAST.timeout == 10.0
