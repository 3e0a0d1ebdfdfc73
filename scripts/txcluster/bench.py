"""Transactions a second, their latency, and the CPU time that the nodes take for each."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from benchmarks.machine import this_machine
from nodeprocesses import cpu_seconds

from orbit_net.client import TransportConfig
from orbit_net.directory import StaticNodeResolver
from orbit_net.model import NodeId
from orbit_net.server import Server
from orbit_net.transactions import MemoryLog, SqliteLog, TransactionConfig, TransactionNode
from txcluster.bank import account, move
from txcluster.cluster import Cluster
from txcluster.node import NODE_PORT, infos

_HEAD = (
    "| loop | logs | participants | transactions at a time | transactions/s | p50 ms | p99 ms "
    "| CPU µs per transaction: coordinator | each participant | decisions per write |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_AT_A_TIME = (1, 64)
_WARM_UP = 0.5


_TEXT = """# Distributed transactions

One coordinator and 2 or 5 participants, a process each on one machine; every transaction changes one account on each
participant. *Durable* is SQLite with `synchronous=FULL` on both sides: votes, decisions and commits wait for the disk,
those that come together for one write. Measured by `make bench-tx`, {seconds:g} s a row; {machine}.
Other work made a load average of {load:.1f} before it began: where that is near the number of cores, or above it, rates
and latencies are those of a busy machine, and the CPU time is what to compare.
"""


def bench(seconds: float, output: Path | None) -> None:
    """Print the table. This process coordinates; the participants are processes of their own, on the same loop."""
    lines = [_TEXT.format(seconds=seconds, machine=this_machine(), load=os.getloadavg()[0]), _HEAD]
    print(*lines, sep="\n", flush=True)

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for backend in ("asyncio", "trio"):
        for durable in (False, True):
            for participants in (2, 5):
                with tempfile.TemporaryDirectory() as directory:
                    path = Path(directory) if durable else None
                    anyio.run(_measure, backend, path, participants, seconds, say, backend=backend)
    if output is not None:
        output.write_text("\n".join(lines) + "\n", "utf-8")


async def _measure(
    backend: str, directory: Path | None, participants: int, seconds: float, say: Callable[[str], None]
) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            Cluster(participants, directory, backend, accounts=max(_AT_A_TIME), remember=0, guest="coordinator")
        )
        log = MemoryLog() if directory is None else SqliteLog(directory / "decisions.db")
        coordinator = TransactionNode(
            NodeId("coordinator"),
            StaticNodeResolver(infos(cluster.hosts)),
            log=log,
            config=TransactionConfig(timeout=20.0),
            transport=TransportConfig(),
        )
        node = await stack.enter_async_context(coordinator)
        server = await stack.enter_async_context(Server([node.service]))  # for those who ask
        await server.listen(f"{cluster.guest['coordinator']}:{NODE_PORT}")
        await _load(node, cluster, max(_AT_A_TIME), _WARM_UP)  # connects and compiles
        for number in _AT_A_TIME:
            pids = cluster.pids
            before, ours, writes = cpu_seconds(pids), cpu_seconds([os.getpid()]), log.writes
            started = time.perf_counter()
            latencies = sorted(await _load(node, cluster, number, seconds))
            elapsed = time.perf_counter() - started
            count = len(latencies)
            theirs = (cpu_seconds(pids) - before) / count / participants * 1e6
            own = (cpu_seconds([os.getpid()]) - ours) / count * 1e6
            p50, p99 = (latencies[int(count * share)] * 1e3 for share in (0.5, 0.99))
            kind = "in memory" if directory is None else "durable"
            batching = "" if directory is None else f"{count / (log.writes - writes):.1f}"
            say(
                f"| {backend} | {kind} | {participants} | {number} | {count / elapsed:,.0f} | {p50:.1f} | {p99:.1f} "
                f"| {own:,.0f} | {theirs:,.0f} | {batching} |"
            )


async def _load(node: TransactionNode, cluster: Cluster, number: int, seconds: float) -> list[float]:
    """Let ``number`` owners commit one after the other, each on accounts of its own; return each latency in seconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    names = list(cluster.hosts)

    async def owner(place: int) -> None:
        turn = 0
        while (started := time.perf_counter()) < end:
            turn += 1
            payer = names[turn % len(names)]  # by turns, so that nobody runs out of money
            amounts = {name: 1 - len(names) if name == payer else 1 for name in names}
            ended = await move(node, "", [(account(name, place), amount) for name, amount in amounts.items()])
            if ended != "COMMITTED":
                raise RuntimeError(f"a transaction is {ended}; is the machine too busy?")
            latencies.append(time.perf_counter() - started)

    async with anyio.create_task_group() as tasks:
        for place in range(number):
            tasks.start_soon(owner, place)
    return latencies
