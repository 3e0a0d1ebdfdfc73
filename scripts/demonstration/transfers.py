"""Moves money between accounts on three node processes, one of which is killed meanwhile.

    python transfers.py BACKEND NAME DIRECTORY PORTS        one node; PORTS: a JSON object of names and ports

``play_transfers(backend)`` starts the nodes, coordinates the transfers itself, and returns what went wrong, or None.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from orbit_net.client import BreakerPolicy, ConnectionPool
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import OrbitError, TransactionAborted, TransactionRefused
from orbit_net.messaging import ActorNode
from orbit_net.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, StringKey
from orbit_net.server import Server
from orbit_net.transactions import TransactionConfig, TransactionNode

NODES = ("ada", "bob", "cyd")
TELLER = "teller"
ACCOUNTS = [AddressableReference("BankAccount", StringKey(f"account-{number}")) for number in range(12)]
INITIAL = 100
BREAKER = BreakerPolicy(isolation=0.5)
"""The killed node is back in a second; the default would leave it alone for ten."""
CONFIG = TransactionConfig(timeout=5.0, resend_initial=0.1, resend_max=1.0)


class BankAccount:
    """What an account does in a transaction: a function of its state."""

    def initial(self, actor: AddressableReference) -> dict[str, int]:
        """Begin with some money."""
        return {"balance": INITIAL}

    def apply(self, state: dict[str, int], operation: Any) -> dict[str, int]:
        """Credit or debit."""
        change = operation.data["amount"] * (1 if operation.operation_type == "credit" else -1)
        if state["balance"] + change < 0:
            raise TransactionRefused("not enough money")
        return {"balance": state["balance"] + change}


class Account:
    """The same account as an actor, which answers questions."""

    bank: TransactionNode

    def __init__(self, reference: AddressableReference) -> None:
        self._reference = reference

    async def balance(self) -> int:
        """Tell what is committed."""
        return int(self.bank.state(self._reference)["balance"])


def directory_of(ports: dict[str, int], local: str) -> StaticNodeResolver:
    """List the nodes, and the teller, whom participants in doubt ask."""
    infos = [
        NodeInfo(NodeId(name), "127.0.0.1", port, NodeCapabilities(("BankAccount",) if name in NODES else ()))
        for name, port in ports.items()
    ]
    return StaticNodeResolver(infos, local=NodeId(local))


async def serve(name: str, directory: str, ports: dict[str, int]) -> None:
    """Be one node, until killed."""
    resolver = directory_of(ports, name)
    async with ConnectionPool(breaker=BREAKER) as pool:
        bank = TransactionNode(NodeId(name), resolver, directory=directory, config=CONFIG, pool=pool)
        bank.register("BankAccount", BankAccount())
        Account.bank = bank
        actors = ActorNode(NodeId(name), resolver)
        actors.register(Account, name="BankAccount")
        async with bank, actors, Server([bank.service, actors.service]) as server:
            await server.listen(f"127.0.0.1:{ports[name]}")
            print("ready", flush=True)
            await anyio.sleep_forever()


class Nodes:
    """The node processes."""

    def __init__(self, backend: str, folder: str, ports: dict[str, int]) -> None:
        self._backend, self._folder, self._ports = backend, folder, ports
        self._processes: dict[str, subprocess.Popen[str]] = {}

    async def start(self, name: str) -> None:
        """Start one and wait until it serves."""
        command = [sys.executable, __file__, self._backend, name, f"{self._folder}/{name}", json.dumps(self._ports)]
        process = self._processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if await anyio.to_thread.run_sync(process.stdout.readline) != "ready\n":
            raise RuntimeError(f"the node {name} did not start")

    def kill(self, name: str) -> None:
        """End one at once: SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def kill_all(self) -> None:
        """End all."""
        for name in list(self._processes):
            self.kill(name)


async def tell_story(bank: TransactionNode, actors: ActorNode, nodes: Nodes) -> str | None:
    """Transfer, kill, and count."""
    ends, over, chance = Counter[str](), False, random.Random(1)

    async def customer() -> None:
        while not over:
            source, target = chance.sample(ACCOUNTS, 2)
            amount = {"amount": chance.randrange(1, 40)}
            try:
                async with bank.coordinator.transaction() as transaction:
                    await transaction.add_operation(source, "debit", amount)
                    await transaction.add_operation(target, "credit", amount)
                ends["committed"] += 1
            except TransactionAborted:
                ends["aborted"] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(customer)
        await anyio.sleep(0.7)
        before = ends["committed"]
        nodes.kill("bob")
        tell(
            f"killed          bob, amid {before:,} transfers; those that need it are aborted, or wait for it if decided"
        )
        await anyio.sleep(0.3)
        await nodes.start("bob")
        mark = ends["committed"]
        await anyio.sleep(0.7)
        over = True
    with anyio.fail_after(20):
        while bank.coordinator.under_way:
            await anyio.sleep(0.02)
    tell(
        f"restarted       bob asked how its transactions ended; {ends['committed'] - mark:,} more transfers since then"
    )
    total, committed = 0, ends["committed"]
    for reference in ACCOUNTS:
        total += await actors.ref("BankAccount", reference.key).invoke("balance")
    tell(f"conserved       {committed:,} committed, {ends['aborted']:,} aborted; {total:,} on 12 accounts, as before")
    if not before or committed <= mark:
        return f"transfers before and after the kill, not {before} and {committed - mark}"
    return None if total == INITIAL * len(ACCOUNTS) else f"the accounts hold {total}, not {INITIAL * len(ACCOUNTS)}"


def tell(text: str) -> None:
    """Say what happened."""
    print(f"  {text}", flush=True)


async def run(backend: str, folder: str, ports: dict[str, int]) -> str | None:
    """Be the teller, who coordinates, and the one who kills."""
    nodes, resolver = Nodes(backend, folder, ports), directory_of(ports, TELLER)
    reason: str | None = "it did not come to its end"
    try:
        for name in NODES:
            await nodes.start(name)
        async with ConnectionPool(breaker=BREAKER) as pool:
            bank = TransactionNode(NodeId(TELLER), resolver, directory=f"{folder}/{TELLER}", config=CONFIG, pool=pool)
            actors = ActorNode(NodeId(TELLER), resolver)
            async with bank, actors, Server([bank.service, actors.service]) as server:
                await server.listen(f"127.0.0.1:{ports[TELLER]}")
                reason = await tell_story(bank, actors, nodes)
    except* (OrbitError, TimeoutError, RuntimeError) as group:
        reason = str(group.exceptions[0])
    finally:
        nodes.kill_all()
    return reason


def play_transfers(backend: str) -> str | None:
    """Play it on one loop; return what went wrong, or None."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in (*NODES, TELLER)]
        ports = {name: one.getsockname()[1] for name, one in zip((*NODES, TELLER), sockets, strict=True)}
    with tempfile.TemporaryDirectory(prefix="orbit-demo-") as folder:
        return anyio.run(run, backend, folder, ports, backend=backend)


if __name__ == "__main__":
    backend, name, directory, listed = sys.argv[1:]
    assert Path(directory).name == name
    anyio.run(serve, name, directory, json.loads(listed), backend=backend)
