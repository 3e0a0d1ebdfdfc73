"""Nodes of bank accounts in one process, joined by byte streams in memory that a test can cut."""

from contextlib import asynccontextmanager

import anyio

from orbit_net.client import ConnectionPool, TransportConfig
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import TransactionRefused
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, StringKey
from orbit_net.proto.orbit.transactions.services import TransactionServiceBase
from orbit_net.server import Server
from orbit_net.testing import MemoryNetwork
from orbit_net.transactions import ParticipantConfig, TransactionConfig, TransactionNode

FAST = TransactionConfig(timeout=5.0, completion_timeout=5.0, resend_initial=0.02, resend_max=0.2)
CURIOUS = ParticipantConfig(ask_initial=0.02, ask_max=0.2)
TRANSPORT = TransportConfig(retry_backoff_initial=0.002, connect_timeout=1.0)


class BankAccount:
    """Begins with 100."""

    def initial(self, actor):
        return {"balance": 100}

    def apply(self, state, operation):
        change = operation.data["amount"] * {"credit": 1, "debit": -1}[operation.operation_type]
        if state["balance"] + change < 0:
            raise TransactionRefused("not enough money")
        return {"balance": state["balance"] + change}


def account(node, number=1):
    """Name an account that lives on a node: its type is that node's."""
    return AddressableReference(f"Account-{node}", StringKey(str(number)))


class Legacy(TransactionServiceBase):
    """Speaks as nodes do that know no field from 100 on: it neither reads nor writes them."""

    def __init__(self, service):
        self.service = service

    async def send_transaction_message(self, request):
        request.inline_reply = False
        response = await self.service.send_transaction_message(request)
        assert response.reply is None
        return response

    async def broadcast_transaction_message(self, request):
        request.inline_reply = False
        response = await self.service.broadcast_transaction_message(request)
        response.results = []
        return response

    async def transaction_health_check(self, request):
        return await self.service.transaction_health_check(request)

    async def get_transaction_status(self, request):
        return await self.service.get_transaction_status(request)


class Bank:
    """Nodes by name; each can be stopped, and started again with the same logs."""

    def __init__(self, names, tasks, logs, legacy, options):
        self.infos = [NodeInfo(NodeId(name), name, 1, NodeCapabilities((f"Account-{name}",))) for name in names]
        self.wires = MemoryNetwork(tasks)
        self.nodes = {}
        self._logs = logs
        self._legacy = legacy
        self._options = options
        self._tasks = tasks
        self._stops = {}

    async def start(self, name):
        """Start a node in a task of its own, whose scopes it enters and leaves."""
        await self._tasks.start(self._run, name)
        return self.nodes[name]

    async def _run(self, name, *, task_status):
        stop, ended = self._stops[name] = anyio.Event(), anyio.Event()
        log, votes = self._logs(name)
        try:
            async with ConnectionPool(TRANSPORT, connector=self.wires.connect, breaker=None) as pool:
                options = {"config": FAST, "participant_config": CURIOUS} | self._options
                resolver = StaticNodeResolver(self.infos)
                node = TransactionNode(NodeId(name), resolver, log=log, votes=votes, pool=pool, **options)
                node.register(f"Account-{name}", BankAccount())
                async with node, Server([Legacy(node.service) if self._legacy else node.service]) as server:
                    self.wires.serve(f"{name}:1", server.serve_stream)
                    self.nodes[name] = node
                    task_status.started()
                    await stop.wait()
        finally:
            ended.set()

    async def stop(self, name):
        """Stop a node; what it had said that was not delivered is lost."""
        self.wires.down.add(f"{name}:1")
        await self.wires.cut()
        del self.nodes[name]
        stop, ended = self._stops.pop(name)
        stop.set()
        await ended.wait()
        self.wires.down.discard(f"{name}:1")

    async def close(self):
        await self.wires.close()
        for name in list(self._stops):
            await self.stop(name)

    def balance(self, name, number=1):
        return self.nodes[name].state(account(name, number))["balance"]


def in_memory(name):
    """No logs: the node makes its own, in memory."""
    return None, None


@asynccontextmanager
async def bank(*names, logs=in_memory, legacy=False, hang=18.0, **options):
    """Give a :class:`Bank` whose nodes run."""
    with anyio.fail_after(hang):
        async with anyio.create_task_group() as tasks:
            found = Bank(names, tasks, logs, legacy, options)
            try:
                for name in names:
                    await found.start(name)
                yield found
            finally:
                with anyio.CancelScope(shield=True):
                    await found.close()


async def transfer(node, source, target, amount):
    """Move money; return how it ended."""
    async with node.coordinator.transaction() as transaction:
        await transaction.add_operation(source, "debit", {"amount": amount})
        await transaction.add_operation(target, "credit", {"amount": amount})
    return transaction.state
