"""Proposals a second, their latency, and the CPU time of the three nodes for each."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
from nodeprocesses import cpu_seconds

from orbit_net.errors import RpcError
from raftcluster.cluster import Cluster
from raftcluster.etcd import Etcd

_VALUE = "x" * 100
_HEAD = (
    "| cluster | clients | proposals/s | p50 ms | p99 ms | CPU µs per entry, three nodes |\n|---|---|---|---|---|---|"
)

Put = Callable[[str, str], Awaitable[object]]


async def bench(seconds: float, output: Path | None) -> None:
    """Print the table."""
    lines = [_HEAD]
    print(_HEAD, flush=True)

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for backend in ("asyncio", "trio"):
        for durable in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) if durable else None
                async with Cluster(3, path, backend) as cluster:
                    stub = cluster.stubs[await cluster.leader()]

                    async def put(key: str, value: str, stub: object = stub) -> object:
                        return await stub.put(key, value, timeout=10.0)  # type: ignore[attr-defined]

                    kind = f"orbit_net, {backend}, {'durable' if durable else 'in memory'}"
                    await _measure(kind, put, cluster.pids, seconds, say)
    binary = shutil.which("etcd")
    if binary is None:
        say("| etcd: no binary here; `apt-get install etcd-server` adds it to the table | | | | | |")
    else:
        with tempfile.TemporaryDirectory() as directory:
            async with Etcd(binary, Path(directory)) as etcd:
                await _measure("etcd, durable", etcd.put, etcd.pids, seconds, say)
    if output is not None:
        output.write_text("\n".join(lines) + "\n", "utf-8")


async def _measure(kind: str, put: Put, pids: Sequence[int], seconds: float, say: Callable[[str], None]) -> None:
    await _load(put, 8, 0.5)  # the first calls connect and compile
    for clients in (1, 64):
        before = cpu_seconds(pids)
        started = time.perf_counter()
        latencies = sorted(await _load(put, clients, seconds))
        elapsed = time.perf_counter() - started
        count = len(latencies)
        cpu = (cpu_seconds(pids) - before) / count * 1e6
        p50, p99 = (latencies[int(count * share)] * 1e3 for share in (0.5, 0.99))
        say(f"| {kind} | {clients} | {count / elapsed:,.0f} | {p50:.1f} | {p99:.1f} | {cpu:,.0f} |")


async def _load(put: Put, clients: int, seconds: float) -> list[float]:
    """Let ``clients`` tasks write one after the other; return each latency in seconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while (started := time.perf_counter()) < end:
            try:
                await put(f"key-{number}", _VALUE)
            except RpcError as error:
                raise RuntimeError(f"a proposal failed: {error}; is the machine too busy?") from error
            latencies.append(time.perf_counter() - started)

    async with anyio.create_task_group() as tasks:
        for number in range(clients):
            tasks.start_soon(client, number)
    return latencies
