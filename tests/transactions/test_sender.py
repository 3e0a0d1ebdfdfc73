"""GrpcTransactionMessageSender against scripted nodes: what is tried again, grouping, and results target by target."""

from contextlib import asynccontextmanager

import anyio
import pytest
from grpclib.exceptions import GRPCError

import orbit_net.client.pool.connection_pool as pool_module
from memory import HANG
from orbit_net.client import BreakerPolicy, ConnectionPool, TransportConfig
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import (
    AddressableNotFound,
    ConfigurationError,
    ConnectError,
    DecodeError,
    NodeNotFound,
    RpcError,
    TransactionRefused,
)
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, StringKey
from orbit_net.proto.orbit.transactions import BroadcastMessageResponse, TransactionMessageResponse
from orbit_net.proto.orbit.transactions.services import TransactionServiceBase
from orbit_net.server import Server, current_call
from orbit_net.status import Status
from orbit_net.testing import MemoryNetwork
from orbit_net.transactions import (
    Abort,
    Acknowledge,
    Commit,
    Delivery,
    GrpcTransactionMessageSender,
    Prepare,
    QueryStatus,
    StateKind,
    StatusResponse,
    TransactionId,
    TransactionMessageConverter,
    TransactionOperation,
    TransactionState,
    TransactionVote,
    Vote,
    retry_table,
)

pytestmark = pytest.mark.anyio

HERE = NodeId("here")
ID = TransactionId.generate(HERE)
QUICK = TransportConfig(retry_backoff_initial=0.001, request_timeout=5.0)


def actor(node, number=1):
    return AddressableReference(f"Account-{node}", StringKey(str(number)))


MESSAGES = {
    "Prepare": Prepare(ID, (TransactionOperation("1", actor("a"), "x"),)),
    "Vote": Vote(ID, actor("a"), TransactionVote.yes()),
    "Commit": Commit(ID),
    "Abort": Abort(ID),
    "Acknowledge": Acknowledge(ID, actor("a")),
    "QueryStatus": QueryStatus(ID),
    "StatusResponse": StatusResponse(ID, TransactionState(StateKind.COMMITTED)),
}
TRIES = dict.fromkeys(MESSAGES, 4) | {"QueryStatus": 1, "StatusResponse": 1}


class Scripted(TransactionServiceBase):
    """Answers each request with the next of ``answers``: a status to fail with, or a response; then it acknowledges."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.heard = []

    def _next(self, request):
        self.heard.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Status):
            raise GRPCError(answer, "as the script says")
        return answer

    async def send_transaction_message(self, request):
        answer = self._next(request)
        return TransactionMessageResponse(success=True, processing_time_ms=5) if answer is None else answer

    async def broadcast_transaction_message(self, request):
        answer = self._next(request)
        if answer is not None:
            return answer
        results = [TransactionMessageResponse(success=True)] * len(request.targets)
        return BroadcastMessageResponse(successful_sends=len(results), results=results)


@asynccontextmanager
async def sending(config=QUICK, breaker=None, **services):
    """Give ``(sender, wires)`` that reaches the named services, each a node of its own."""
    infos = [NodeInfo(NodeId(name), name, 1, NodeCapabilities((f"Account-{name}",))) for name in (*services, "gone")]
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            wires = MemoryNetwork(tasks)
            async with anyio.create_task_group() as servers:
                started = anyio.Event()
                stop = anyio.Event()

                async def serve(name, service):
                    async with Server([service]) as server:
                        wires.serve(f"{name}:1", server.serve_stream)
                        started.set()
                        await stop.wait()

                for name, service in services.items():
                    started = anyio.Event()
                    servers.start_soon(serve, name, service)
                    await started.wait()
                async with ConnectionPool(config, connector=wires.connect, breaker=breaker) as pool:
                    async with GrpcTransactionMessageSender(HERE, StaticNodeResolver(infos), pool=pool) as sender:
                        yield sender, wires
                stop.set()
                await wires.close()


def test_the_table():
    """Every kind has its row; the delays and their number are those of the documentation."""
    table = retry_table(TransportConfig())
    assert {kind.__name__ for kind in table} == set(MESSAGES)
    for kind, policy in table.items():
        if TRIES[kind.__name__] == 1:
            assert policy is None
            continue
        assert (policy.initial_backoff, policy.backoff_multiplier, policy.attempts) == (0.1, 2.0, 4)
        assert policy.retryable_status_codes == {
            Status.UNAVAILABLE,
            Status.DEADLINE_EXCEEDED,
            Status.RESOURCE_EXHAUSTED,
        }
    assert set(retry_table(TransportConfig(retry_attempts=0)).values()) == {None}


@pytest.mark.parametrize("way", ["send", "broadcast"])
@pytest.mark.parametrize("kind", MESSAGES)
async def test_what_is_tried_again(kind, way):
    """A node that is overloaded is asked as often as the table says for the kind, whichever way it goes."""
    node = Scripted(*[Status.UNAVAILABLE] * 9)
    async with sending(a=node) as (sender, _):
        if way == "send":
            with pytest.raises(RpcError) as raised:
                await sender.send_message(actor("a"), MESSAGES[kind])
            assert raised.value.retryable
        else:
            result = await sender.broadcast_message([actor("a")], MESSAGES[kind])
            assert result.failed[actor("a")].status is Status.UNAVAILABLE
        assert len(node.heard) == TRIES[kind]


@pytest.mark.parametrize("status", [Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.PERMISSION_DENIED])
async def test_what_is_never_tried_again(status):
    """It is an answer; asking again would not help."""
    node = Scripted(status, status)
    async with sending(a=node) as (sender, _):
        with pytest.raises(RpcError) as raised:
            await sender.send_message(actor("a"), Commit(ID))
        assert (raised.value.status, raised.value.retryable) == (status, False)
        result = await sender.broadcast_message([actor("a")], Commit(ID))
        assert result.failed[actor("a")].status is status
        assert len(node.heard) == 2


async def test_after_a_failure_it_succeeds():
    """The second attempt is answered, and nobody hears of the first."""
    reply = TransactionMessageConverter.to_proto(Vote(ID, actor("a"), TransactionVote.yes()))
    node = Scripted(Status.RESOURCE_EXHAUSTED, TransactionMessageResponse(success=True, reply=reply))
    async with sending(a=node) as (sender, _):
        assert await sender.send_message(actor("a"), MESSAGES["Prepare"]) == Vote(ID, actor("a"), TransactionVote.yes())
        [first, second] = node.heard
        assert first == second
        assert (second.sender_node_id, second.target_actor_type, second.target_actor_key, second.timeout_ms) == (
            "default:here",
            "Account-a",
            "1",
            5_000,
        )
        assert second.inline_reply


async def test_a_refusal():
    """The actor says no: TransactionRefused with its reason, which is not tried again."""
    node = Scripted(TransactionMessageResponse(error_message="never prepared"), TransactionMessageResponse())
    async with sending(a=node) as (sender, _):
        with pytest.raises(TransactionRefused, match=r"^never prepared$"):
            await sender.send_message(actor("a"), Commit(ID))
        with pytest.raises(TransactionRefused, match=r"^no reason given$"):
            await sender.send_message(actor("a"), Commit(ID))
        assert len(node.heard) == 2


async def test_nowhere_to_go():
    """The resolver's errors, and a node that nobody reaches."""
    async with sending(a=Scripted()) as (sender, wires):
        with pytest.raises(AddressableNotFound):
            await sender.send_message(actor("z"), Commit(ID))
        with pytest.raises(NodeNotFound):
            await sender.send_message(actor("a"), Commit(ID), node=NodeId("z"))
        with pytest.raises(RpcError) as raised:
            await sender.send_message(actor("gone"), Commit(ID))
        assert raised.value.status is Status.UNAVAILABLE
        assert not wires.streams


async def test_a_broadcast_is_grouped_by_node():
    """One request to each node, to all at the same time, with the operations of its own actors."""
    both = anyio.Event()
    waiting = []

    class Meeting(Scripted):
        async def broadcast_transaction_message(self, request):
            waiting.append(self)
            if len(waiting) == 2:
                both.set()
            await both.wait()
            return await super().broadcast_transaction_message(request)

    one, two = Meeting(), Meeting()
    targets = [actor("a", 1), actor("b", 1), actor("a", 2), actor("a", 1)]
    operations = tuple(TransactionOperation(str(n), target, "x") for n, target in enumerate(targets))
    async with sending(a=one, b=two) as (sender, _):
        result = await sender.broadcast_message(targets, Prepare(ID, operations), timeout=3.0)
        assert result.succeeded == (actor("a", 1), actor("b", 1), actor("a", 2))
        assert not result.failed
        assert str(result) == "3 of 3 delivered"
        [first], [second] = one.heard, two.heard
        assert [target.actor_key for target in first.targets] == ["1", "2"]
        assert [operation.operation_id for operation in first.message.prepare.operations] == ["0", "2", "3"]
        assert [operation.operation_id for operation in second.message.prepare.operations] == ["1"]
        assert first.timeout_ms == 3_000
        assert (await sender.broadcast_message([], Commit(ID))).deliveries == {}


async def test_the_result_says_which_failed():
    """One node is down, one actor is nowhere, one refuses: the others are delivered."""
    answers = [TransactionMessageResponse(success=True), TransactionMessageResponse(error_message="no")]
    node = Scripted(BroadcastMessageResponse(successful_sends=1, failed_sends=1, errors=["x"], results=answers))
    targets = [actor("a", 1), actor("gone"), actor("z"), actor("a", 2)]
    async with sending(a=node) as (sender, _):
        result = await sender.broadcast_message(targets, Commit(ID))
        assert tuple(result.deliveries) == tuple(targets)
        assert result.succeeded == (actor("a", 1),)
        kinds = {str(target): type(error) for target, error in result.failed.items()}
        assert kinds == {
            "Account-gone/1": RpcError,
            "Account-z/1": AddressableNotFound,
            "Account-a/2": TransactionRefused,
        }
        assert str(result).startswith("1 of 4 delivered; Account-gone/1: UNAVAILABLE")


async def test_nodes_that_only_count():
    """All or none is plain from the counts; when some failed each is asked by itself, for a duplicate is harmless."""
    none = BroadcastMessageResponse(successful_sends=2)
    single = BroadcastMessageResponse(failed_sends=1, errors=["Account-a/1: no"])
    some = BroadcastMessageResponse(successful_sends=1, failed_sends=1, errors=["no"])
    node = Scripted(none, single, some, TransactionMessageResponse(success=True), Status.NOT_FOUND)
    targets = [actor("a", 1), actor("a", 2)]
    async with sending(a=node) as (sender, _):
        assert (await sender.broadcast_message(targets, Commit(ID))).succeeded == tuple(targets)
        failed = (await sender.broadcast_message(targets[:1], Commit(ID))).failed
        assert str(failed[targets[0]]) == "Account-a/1: no"
        result = await sender.broadcast_message(targets, Commit(ID))
        assert (len(result.succeeded), len(result.failed)) == (1, 1)
        assert [type(request).__name__ for request in node.heard[-3:]] == [
            "BroadcastMessageRequest",
            "TransactionMessageRequest",
            "TransactionMessageRequest",
        ]


async def test_a_response_that_does_not_fit():
    """Results for others than were asked for are no results."""
    node = Scripted(BroadcastMessageResponse(results=[TransactionMessageResponse(success=True)]))
    async with sending(a=node) as (sender, _):
        result = await sender.broadcast_message([actor("a", 1), actor("a", 2)], Commit(ID))
        assert {type(error) for error in result.failed.values()} == {DecodeError}


async def test_the_time_is_sent_and_kept():
    """The deadline of the call is the given time, over all attempts."""
    seen = []

    class Slow(Scripted):
        async def send_transaction_message(self, request):
            seen.append(current_call().deadline.time_remaining())
            await anyio.sleep_forever()

    async with sending(a=Slow()) as (sender, _):
        with pytest.raises(RpcError) as raised:
            await sender.send_message(actor("a"), Commit(ID), timeout=0.05)
        assert raised.value.status is Status.DEADLINE_EXCEEDED
        assert len(seen) == 1
        assert seen[0] <= 0.05


async def test_a_node_that_fails_again_and_again_is_left_alone():
    """After five failures its circuit is open: ConnectError at once, and other nodes are served."""
    breaker = BreakerPolicy(failures=5, isolation=60.0)
    async with sending(TransportConfig(retry_attempts=0), breaker, a=Scripted()) as (sender, _):
        for _ in range(5):
            with pytest.raises(RpcError):
                await sender.send_message(actor("gone"), Commit(ID))
        with pytest.raises(ConnectError, match="circuit to gone:1 is open"):
            await sender.send_message(actor("gone"), Commit(ID))
        result = await sender.broadcast_message([actor("gone"), actor("a")], Commit(ID))
        assert isinstance(result.failed[actor("gone")], ConnectError)
        assert result.succeeded == (actor("a"),)


async def test_its_pool_lives_with_it(monkeypatch):
    """A pool of its own is cleaned up while it is entered, and closed when it is left."""
    cleaned = anyio.Event()
    monkeypatch.setattr(pool_module, "CLEANUP_INTERVAL", 0.01)
    asked = []

    async def cleanup(self, max_idle=pool_module.MAX_IDLE):
        asked.append(max_idle)
        cleaned.set()
        return 0

    monkeypatch.setattr(ConnectionPool, "cleanup_idle_connections", cleanup)
    sender = GrpcTransactionMessageSender(HERE, StaticNodeResolver([]), TransportConfig(request_timeout=1.0))
    assert sender.pool.config.request_timeout == 1.0
    with pytest.raises(ConfigurationError, match="not open"):
        await sender.pool.get_connection("a:1")
    with anyio.fail_after(HANG):
        async with sender:
            await cleaned.wait()
            stats = await sender.get_stats()
            assert (stats.total_connections, stats.total_requests) == (0, 0)
    assert set(asked) == {600.0}
    assert sender.pool.closed
    with pytest.raises(ConfigurationError, match="not both"):
        GrpcTransactionMessageSender(HERE, StaticNodeResolver([]), TransportConfig(), pool=sender.pool)


def test_the_intervals_are_those_of_the_documentation():
    """Every five minutes, what was idle for ten."""
    assert (pool_module.CLEANUP_INTERVAL, pool_module.MAX_IDLE) == (300.0, 600.0)
    assert Delivery().error is None
