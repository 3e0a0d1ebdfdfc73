"""The measured process: one side of one peer, asked by lines of JSON on standard input.

    python -m benchmarks.worker server PEER              → {"address": "127.0.0.1:…"}
    python -m benchmarks.worker client PEER ADDRESS      → {"ready": true}

    server  {"do": "cpu"}                                → {"cpu": seconds of CPU so far, all threads}
    client  {"do": "warm", "workload", "seconds"}        → {"rate": calls a second}
    client  {"do": "measure", "workload", "calls"}       → {"cpu", "wall": seconds, "p50", "p99": microseconds or null}

Each command also has a "limit" in seconds; the client gives up then, and its traceback says where it stood. End of
input ends the process in good order, so a worker never outlives whoever started it. A thread waits for the lines;
during a measurement it sleeps in the system, which costs the event loop nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import anyio
import anyio.to_thread

from .echo import Connection, Runtime
from .peers import PEERS
from .tables import TABLES
from .workloads import Workload

_FIRST_CALLS = 64
_WORKLOADS = {workload.name: workload for table in TABLES.values() for workload in table.workloads}


async def _warm(connection: Connection, workload: Workload, seconds: float) -> dict[str, Any]:
    calls, spent, last = _FIRST_CALLS, 0.0, 0.0
    while True:
        start = time.perf_counter()
        await workload.drive(connection, workload.payload, calls)
        last = time.perf_counter() - start
        spent += last
        if spent >= seconds:
            return {"rate": calls / last}
        calls = int(calls * min(2.0, max(0.1, (seconds - spent) / last))) + 1


async def _measure(connection: Connection, workload: Workload, calls: int) -> dict[str, Any]:
    payload = workload.payload
    wall, cpu = time.perf_counter(), time.process_time()
    latencies = await workload.drive(connection, payload, calls)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    latencies.sort()
    return {"cpu": cpu, "wall": wall, "p50": _percentile(latencies, 0.5), "p99": _percentile(latencies, 0.99)}


def _percentile(ordered_ns: Sequence[int], fraction: float) -> float | None:
    return ordered_ns[int(fraction * (len(ordered_ns) - 1))] / 1000 if ordered_ns else None


class _Commands:
    """The lines of standard input, and the answers on what was standard output.

    Standard output itself is pointed at standard error, so that a stray print of a runtime cannot pass for an answer.
    """

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    async def next(self) -> dict[str, Any] | None:
        line = await anyio.to_thread.run_sync(sys.stdin.readline)
        return json.loads(line) if line else None

    def answer(self, **values: Any) -> None:
        print(json.dumps(values), file=self._answers, flush=True)


async def _server(runtime: Runtime, commands: _Commands) -> None:
    async with runtime.serve() as address:
        commands.answer(address=address)
        while await commands.next() is not None:
            commands.answer(cpu=time.process_time())


async def _client(runtime: Runtime, commands: _Commands, address: str) -> None:
    async with runtime.connect(address) as connection:
        commands.answer(ready=True)
        while (command := await commands.next()) is not None:
            workload = _WORKLOADS[command["workload"]]
            with anyio.fail_after(command["limit"]):
                if command["do"] == "warm":
                    result = await _warm(connection, workload, command["seconds"])
                else:
                    result = await _measure(connection, workload, command["calls"])
            commands.answer(**result)


def main(arguments: Sequence[str]) -> None:
    """Run one side until standard input ends."""
    side, peer_name, *rest = arguments
    peer = PEERS[peer_name]
    runtime, commands = peer.load(), _Commands()
    if side == "server":
        anyio.run(_server, runtime, commands, backend=peer.backend)
    else:
        anyio.run(_client, runtime, commands, rest[0], backend=peer.backend)


if __name__ == "__main__":
    main(sys.argv[1:])
