"""Kills the leader again and again while clients write, and looks whether anything acknowledged is lost."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import anyio

from raftcluster.cluster import Cluster


@dataclass(frozen=True)
class Outcome:
    """``elections`` in seconds from the kill to the first node that knows a new leader."""

    elections: list[float]
    acknowledged: int
    lost: list[str]

    def __str__(self) -> str:
        return (
            f"{len(self.elections)} leaders killed: new leader after {statistics.median(self.elections):.2f} s "
            f"(median), {max(self.elections):.2f} s at most; {self.acknowledged:,} writes acknowledged, "
            f"{len(self.lost)} lost"
        )


async def kill_leaders(directory: Path, backend: str, times: int, *, writers: int = 4) -> Outcome:
    """Run three nodes on ``backend``, kill the leader ``times`` times and start it again."""
    acknowledged: dict[str, int] = {}
    elections = []

    async def write(number: int) -> None:
        count = 0
        while True:
            count += 1
            key = f"{number}.{count}"
            if await cluster.put(key, count):
                acknowledged[key] = count

    async def progress(more: int) -> None:
        target = len(acknowledged) + more
        while len(acknowledged) < target:
            await anyio.sleep(0.005)  # the writers are tasks beside; a condition each would say less

    async with Cluster(3, directory, backend) as cluster:
        async with anyio.create_task_group() as tasks:
            for number in range(writers):
                tasks.start_soon(write, number)
            for _ in range(times):
                await progress(20)
                leader = await cluster.leader()
                cluster.kill(leader)
                started = time.perf_counter()
                await cluster.leader(other_than=leader)
                elections.append(time.perf_counter() - started)
                cluster.start(leader)
                await cluster.wait_started(leader)
            await progress(20)
            tasks.cancel_scope.cancel()
        lost = [key for key, value in acknowledged.items() if await cluster.get(key) != value]
    return Outcome(elections, len(acknowledged), lost)
