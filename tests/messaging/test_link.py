"""A link under load and under cuts: every invocation ends, nothing runs twice, memory stays bounded."""

import os
from collections import Counter
from random import Random

import anyio
import pytest

from cluster import FAST, Ledger, cluster
from orbit_net.errors import ConfigurationError, ConnectError, ConnectionLost, OrbitTimeout
from orbit_net.messaging import Link, LinkSettings
from orbit_net.messaging.question import Awaited
from orbit_net.model import AddressableReference, InfoRequest, Invocation, InvocationValue, Message, NodeId, StringKey
from orbit_net.testing import MemoryNetwork
from settle import until

pytestmark = pytest.mark.anyio

INVOCATIONS = int(os.environ.get("ORBIT_NET_INVOCATIONS", "4000"))
"""How many the test of random cuts makes; ``make invocations`` makes 100,000."""


@pytest.mark.timeout(300)
async def test_random_cuts_leave_nothing_open_and_run_nothing_twice():
    """50 tasks over one link that is cut again and again: a value, an error or a timeout for each invocation."""
    random = Random(5)
    ends, executed = Counter(), Counter()

    class Once(Ledger):
        async def add(self, amount, tag=None):
            executed[tag] += 1
            return amount

    Once.__name__ = "Once"
    async with cluster("n1", "c1", actor=Once, hang=280) as ([node, caller], wires):
        over = False

        async def cut():
            while not over:
                for _ in range(random.randrange(20, 400)):
                    await anyio.lowlevel.checkpoint()
                await wires.cut()

        async def call(task):
            for number in range(INVOCATIONS // 50):
                tag = f"{task}-{number}"
                try:
                    value = await caller.ref("Once", task % 7).invoke("add", number, tag)
                except ConnectionLost:
                    ends["lost"] += 1
                except OrbitTimeout:
                    ends["timeout"] += 1
                else:
                    assert (value, executed[tag]) == (number, 1)
                    ends["value"] += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            async with anyio.create_task_group() as callers:
                for task in range(50):
                    callers.start_soon(call, task)
            over = True
        link = caller._links.get(node.node_id)
        assert (len(link._pending), len(link._timers), len(link._row.waiting)) == (0, 0, 0)
        assert link.connections > 3
    assert sum(ends.values()) == INVOCATIONS // 50 * 50
    assert ends["value"] > INVOCATIONS // 4
    assert set(executed.values()) == {1}


async def test_a_stalled_peer_costs_a_bounded_amount():
    """A peer that reads nothing: the queue stops at its bound, callers wait, relays are refused, all end in time."""
    settings = LinkSettings(timeout=10.0, max_pending=64, max_queued=16_384, backoff=FAST.backoff)
    async with cluster("n1", "c1", settings=settings, max_in_flight=8) as ([node, caller], _wires):
        Ledger.gates["g"] = anyio.Event()
        link = await caller._links.open(node.node_id)
        assert await link.info() == node.node_id
        errors = Counter()

        async def call():
            try:
                await caller.ref("Ledger", "a", timeout=1.0).invoke("wait", "g", " " * 4_000)
            except OrbitTimeout:
                errors["timeout"] += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(call)
            await until(lambda: link._row.waiting)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
                assert len(link._pending) <= 64
                assert link._pending.queued_size <= 16_384
        assert errors == {"timeout": 200}
        assert (len(link._pending), link._pending.queued_size) == (0, 0)
        assert (len(link._row.waiting), len(link._timers)) == (0, 0)


async def raw_link(accept, ask, **settings):
    """Run ``ask(link)`` against whatever ``accept`` does with the connections."""
    with anyio.fail_after(18):
        async with anyio.create_task_group() as tasks:
            wires = MemoryNetwork(tasks)
            wires.serve("peer:1", accept)
            options = LinkSettings(timeout=10.0, connect_timeout=0.05, backoff=FAST.backoff, **settings)
            link = Link(
                NodeId("me"), NodeId("peer"), "peer:1", settings=options, connector=lambda: wires.connect("peer:1")
            )
            async with link:
                await ask(link)
            await wires.close()
            tasks.cancel_scope.cancel()


async def test_a_peer_that_does_not_speak_is_no_peer():
    """A connection that says nothing within the connect timeout fails what waits, which was never sent."""

    async def silent(stream):
        await anyio.sleep_forever()

    async def ask(link):
        answer = await link.ask(InfoRequest(), until=anyio.current_time() + 5)
        assert isinstance(answer.error, ConnectError)
        assert not answer.reached
        with pytest.raises(ConnectError):
            await link.info()
        assert link.connections == 0

    await raw_link(silent, ask)


async def test_another_node_at_the_address_gets_nothing():
    """A link says whom it expects, and hangs up on anybody else."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        link = Link(caller.node_id, NodeId("n9"), "n1:1", settings=FAST, connector=lambda: wires.connect("n1:1"))
        async with link:
            invocation = Invocation(AddressableReference("Ledger", StringKey("a")), "add", "[1]")
            answer = await link.ask(invocation, until=anyio.current_time() + 5)
        assert "is default:n1, not default:n9" in str(answer.error)
        assert Ledger.log == {}


def link_of(caller, wires, *, settings=FAST):
    """Return a link to whoever is at n1:1."""
    return Link(caller.node_id, None, "n1:1", settings=settings, connector=lambda: wires.connect("n1:1"))


def waiting(key):
    """Return an invocation that waits for the gate ``g``."""
    return Invocation(AddressableReference("Ledger", StringKey(key)), "wait", '["g"]')


async def test_a_closed_link_takes_nothing():
    """What is open when it is closed fails, and so does what comes later; it is entered once."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        Ledger.gates["g"] = anyio.Event()
        link = link_of(caller, wires)
        invocation = waiting("a")
        answers = []

        async def ask():
            answers.append(await link.ask(invocation, until=anyio.current_time() + 5))

        async with anyio.create_task_group() as tasks:
            async with link:
                tasks.start_soon(ask)
                await until(lambda: Ledger.log)
        late = await link.ask(invocation, until=anyio.current_time() + 5)
        assert [isinstance(answer.error, ConnectionLost) for answer in (*answers, late)] == [True, True]
        assert [answer.reached for answer in (*answers, late)] == [True, False]
        with pytest.raises(ConfigurationError):
            async with link:
                pass


async def test_a_retired_link_hears_the_answers_that_are_under_way():
    """The news that a peer has gone overtakes its last answers: those count, and nothing more is sent."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        Ledger.gates["g"] = anyio.Event()
        async with link_of(caller, wires) as link:
            answers = []

            async def ask(key):
                answers.append(await link.ask(waiting(key), until=anyio.current_time() + 5))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, "a")
                tasks.start_soon(ask, "b")
                await until(lambda: len(Ledger.log) == 2)
                link.retire()
                assert repr(link) == "<Link to n1:1 ending, 0 queued, 2 in flight>"
                await ask("c")
                assert (len(answers), answers[0].reached) == (1, False)
                Ledger.gates["g"].set()
            assert [answer.content for answer in answers[1:]] == [InvocationValue('"g"')] * 2
            await until(lambda: not link._open)
            assert repr(link) == "<Link to n1:1 closed, 0 queued, 0 in flight>"
            assert not len(link._timers)


async def test_a_retired_link_does_not_wait_for_ever():
    """A peer that has gone and whose machine does not say so gets the connect timeout to answer."""
    settings = LinkSettings(timeout=10.0, connect_timeout=0.1, backoff=FAST.backoff)
    async with cluster("n1", "c1") as ([_node, caller], wires):
        Ledger.gates["g"] = anyio.Event()
        async with link_of(caller, wires, settings=settings) as link:
            answers = []

            async def ask():
                answers.append(await link.ask(waiting("a"), until=anyio.current_time() + 15))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await until(lambda: Ledger.log)
                link.retire()
            [answer] = answers
            assert isinstance(answer.error, ConnectionLost)
            assert answer.reached


async def test_a_link_that_carries_nothing_is_retired_at_once():
    """So is one that has no connection yet: what waits for it was not delivered."""
    async with cluster("n1", "c1") as ([_node, caller], wires):
        async with link_of(caller, wires) as link:
            await link.info()
            link.retire()
            assert repr(link) == "<Link to n1:1 closed, 0 queued, 0 in flight>"
        answers = []
        wires.down.add("n1:1")
        async with link_of(caller, wires) as link:

            async def ask():
                answers.append(await link.ask(InfoRequest(), until=anyio.current_time() + 5))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await until(lambda: link._pending.queued)
                link.retire()
        assert [(type(answer.error), answer.reached) for answer in answers] == [(ConnectionLost, False)]


async def test_a_full_link_serves_callers_in_their_order():
    """With room for one question, twenty callers get their answers one after the other."""
    settings = LinkSettings(timeout=10.0, max_pending=1, backoff=FAST.backoff)
    async with cluster("n1", "c1", settings=settings) as ([_node, caller], _):
        order = []

        async def call(number):
            await caller.ref("Ledger", "a").invoke("add", 1, number)
            order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)
                await until(lambda number=number: len(caller._links) == 1 or number)
        assert sorted(order) == list(range(20))
        assert next(iter(Ledger.log.values())) == order


@pytest.mark.parametrize(
    "setting", ["timeout", "max_pending", "max_queued", "max_message", "max_attempts", "connect_timeout"]
)
async def test_settings_are_checked(setting):
    """Nothing is zero."""
    with pytest.raises(ConfigurationError, match=setting):
        LinkSettings(**{setting: 0})


async def test_a_question_ends_once():
    """Of several ends the first counts."""
    question = Awaited(any_message(), idempotent=False)
    question.lost(ConnectionLost("gone"))
    question.expire()
    question.answer(InfoRequest())
    assert isinstance(question.error, ConnectionLost)
    assert question.content is None
    assert not question.wanted


def any_message():
    """Any message."""
    return Message(1, InfoRequest())
