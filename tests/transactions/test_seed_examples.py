"""The examples of Orbit's documentation of the network layer, in this API; the headings are those of the document."""

from contextlib import asynccontextmanager

import anyio
import pytest

from orbit_net.client import ConnectionPool, TransportConfig
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import NetworkError, OrbitError, OrbitTimeout, RpcError
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, StringKey
from orbit_net.raft import GrpcRaftTransport, RaftConsensus, start_raft_server
from orbit_net.server import Server
from orbit_net.transactions import (
    Commit,
    GrpcTransactionMessageSender,
    Prepare,
    TransactionId,
    TransactionMessageConverter,
    TransactionNode,
    TransactionOperation,
    Vote,
    VoteKind,
)
from txnet import BankAccount

pytestmark = pytest.mark.anyio


class Counter:
    """Counts."""

    def initial(self, actor):
        return 0

    def apply(self, state, operation):
        return state + operation.data["by"]


class CountingService:
    """Counts the requests that come to a node."""

    def __init__(self, node):
        self.node = node
        self.requests = 0

    def __mapping__(self):
        self.node.service.broadcast_transaction_message = self._counted(self.node.service.broadcast_transaction_message)
        return self.node.service.__mapping__()

    def _counted(self, method):
        async def counted(request):
            self.requests += 1
            return await method(request)

        return counted


@asynccontextmanager
async def nodes(*names):
    """Give ``(resolver, nodes, services)`` of nodes that listen on loopback and host accounts and counters."""
    resolver = StaticNodeResolver([])
    async with anyio.create_task_group() as tasks:
        found, services, stop = {}, {}, anyio.Event()

        async def serve(name, *, task_status):
            node = TransactionNode(NodeId(name), resolver)
            node.register("BankAccount", BankAccount())
            node.register("Counter", Counter())
            counting = CountingService(node)
            async with node, Server([counting]) as server:
                [target] = await server.listen("127.0.0.1:0")
                host, _, port = target.rpartition(":")
                resolver.add(NodeInfo(NodeId(name), host, int(port), NodeCapabilities(("BankAccount", "Counter"))))
                found[name], services[name] = node, counting
                task_status.started()
                await stop.wait()

        for name in names:
            await tasks.start(serve, name)
        yield resolver, found, services
        stop.set()


def account_message(node_id, target, amount=100):
    """Return the Prepare of the document's account."""
    operation = TransactionOperation(
        operation_id="op-1",
        target=target,
        operation_type="debit",
        data={"amount": amount},
        compensation={"action": "credit", "amount": amount},
    )
    return Prepare(TransactionId.generate(node_id), (operation,), timeout=30.0)


async def test_complete_actor_invocation_flow():
    """*Complete Actor Invocation Flow*: transport, target, message, sending; the account votes."""
    async with nodes("node-1", "node-2") as (node_resolver, _, _):
        # 1. Set up transport. Background tasks start and end with the block.
        node_id = NodeId("caller")
        async with GrpcTransactionMessageSender(node_id, node_resolver, TransportConfig()) as sender:
            # 2. Define target actor
            target_actor = AddressableReference("BankAccount", StringKey("account-123"))

            # 3. Create transaction message
            message = account_message(node_id, target_actor)

            # 4. Send message
            reply = await sender.send_message(target_actor, message)
    assert isinstance(reply, Vote)
    assert reply.participant == target_actor
    assert reply.vote.kind is VoteKind.YES


async def test_broadcast_optimization():
    """*Broadcast Optimization Example*: three counters on two nodes, one request to each node."""
    async with nodes("node-1", "node-2") as (node_resolver, found, services):
        node_id = NodeId("caller")
        targets = [AddressableReference("Counter", StringKey(f"counter-{number}")) for number in (1, 2, 3, 4, 5)]
        tx_id = TransactionId.generate(node_id)
        operations = [
            TransactionOperation(f"op-{number}", target, "count", {"by": number})
            for number, target in enumerate(targets, 1)
        ]
        async with GrpcTransactionMessageSender(node_id, node_resolver) as sender:
            await sender.broadcast_message(targets, Prepare(tx_id, operations))

            # Groups targets by hosting node: one broadcast request a node instead of one a target
            result = await sender.broadcast_message(targets, Commit(tx_id))
        assert result.succeeded == tuple(targets)
        assert [service.requests for service in services.values()] == [2, 2]
        owners = [await node_resolver.resolve_addressable(target) for target in targets]
        assert [found[owner.key].state(target) for owner, target in zip(owners, targets, strict=True)] == [
            1,
            2,
            3,
            4,
            5,
        ]


async def test_error_handling_patterns():
    """*Error Handling Patterns*: retried already, so log and handle; a circuit breaker counts failures by itself."""
    resolver = StaticNodeResolver([NodeInfo(NodeId("gone"), "127.0.0.1", 9, NodeCapabilities(("BankAccount",)))])
    target = AddressableReference("BankAccount", StringKey("1"))
    config = TransportConfig(retry_backoff_initial=0.001)
    async with GrpcTransactionMessageSender(NodeId("caller"), resolver, config) as sender:
        # Pattern 1: Retry on network errors
        seen = []
        try:
            await sender.send_message(target, Commit(TransactionId.generate(NodeId("caller"))))
        except (NetworkError, OrbitTimeout):
            raise AssertionError("no call was made") from None
        except OrbitError as error:
            seen.append((type(error), error.retryable))  # already retried automatically
        assert seen == [(RpcError, True)]

        # Pattern 2: Circuit breaker for node failures, one for each node, of the pool
        errors = []
        for _ in range(10):
            try:
                await sender.send_message(target, Commit(TransactionId.generate(NodeId("caller"))))
            except OrbitError as error:
                errors.append(error)
        assert len([error for error in errors if "circuit" in str(error)]) == 10 - 4


async def test_monitoring_integration():
    """*Monitoring Integration*: what a metrics system gets, once a minute or whenever."""
    async with nodes("node-1") as (node_resolver, _, _):
        node_id = NodeId("caller")
        target = AddressableReference("BankAccount", StringKey("account-123"))
        async with GrpcTransactionMessageSender(node_id, node_resolver) as sender:
            await sender.send_message(target, account_message(node_id, target))
            with pytest.raises(OrbitError):
                await sender.send_message(
                    AddressableReference("Ship", StringKey("1")),
                    Commit(TransactionId.generate(node_id)),
                    node=NodeId("node-1"),
                )
            stats = await sender.get_stats()
    metrics = {
        "orbit.transport.connections": stats.total_connections,
        "orbit.transport.requests": stats.total_requests,
        "orbit.transport.errors": stats.total_errors,
        "orbit.transport.latency_ms": stats.average_latency_ms,
    }
    assert metrics.pop("orbit.transport.latency_ms") > 0
    assert metrics == {
        "orbit.transport.connections": 1,
        "orbit.transport.requests": 2,
        "orbit.transport.errors": 1,
    }


async def test_unit_connection_pool_reuse():
    """*Unit Tests*, test_connection_pool_reuse: the same endpoint is the same connection."""
    async with ConnectionPool(TransportConfig()) as pool:
        client1 = await pool.get_connection("http://localhost:50051")
        client2 = await pool.get_connection("http://localhost:50051")

        # Should reuse the same connection
        assert client1 is client2
        stats = await pool.get_stats()
        assert stats.total_connections == 1


def test_unit_message_conversion():
    """*Unit Tests*, test_message_conversion: a Commit becomes a message of its kind, and comes back."""
    tx_id = TransactionId.generate(NodeId("test", "default"))
    message = Commit(tx_id)

    proto = TransactionMessageConverter.to_proto(message)
    assert proto.commit is not None
    assert TransactionMessageConverter.from_proto(proto) == message


async def test_integration_full_transaction_flow():
    """*Integration Tests*, test_full_transaction_flow: a server, a client, a message that arrives."""
    node_id = NodeId("node-1")
    resolver = StaticNodeResolver([])
    node = TransactionNode(node_id, resolver)
    node.register("BankAccount", BankAccount())
    target = AddressableReference("BankAccount", StringKey("account-123"))
    async with anyio.create_task_group() as tasks, node, RaftConsensus(node_id, [node_id]) as consensus:
        # Start server: as in the document it is that of the consensus, and it serves transactions as well
        await consensus.start(GrpcRaftTransport(node_id, {}))
        async with Server([node.service]) as server:
            [address] = await server.listen("127.0.0.1:0")
            host, _, port = address.rpartition(":")
            resolver.add(NodeInfo(node_id, host, int(port), NodeCapabilities(("BankAccount",))))
            await tasks.start(start_raft_server, consensus, "127.0.0.1:0")

            # Create client
            async with GrpcTransactionMessageSender(node_id, resolver, TransportConfig()) as sender:
                # Send message
                message = account_message(node_id, target)
                assert (await sender.send_message(target, message)).vote.kind is VoteKind.YES
                await sender.send_message(target, Commit(message.transaction_id))

            # Cleanup
            tasks.cancel_scope.cancel()
        assert node.state(target) == {"balance": 0}
