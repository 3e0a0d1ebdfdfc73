"""Three node processes that agree: a replicated store, its leader killed in the middle, nothing lost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import anyio
from raftcluster.cluster import Cluster

from .telling import Surprise, tell

_WRITES = 200
_PATIENCE = 60
"""Seconds for one loop's whole story."""


def play_agreement(backend: str) -> str | None:
    """Run the processes and their client on one loop; return what went wrong, or None."""
    with tempfile.TemporaryDirectory(prefix="orbit-demo-", ignore_cleanup_errors=True) as directory:
        try:
            anyio.run(_story, Path(directory), backend, backend=backend)
        except (Surprise, RuntimeError) as error:
            return str(error)
        except TimeoutError:
            return f"no end after {_PATIENCE} s"
    return None


async def _story(directory: Path, backend: str) -> None:
    with anyio.fail_after(_PATIENCE):
        async with Cluster(3, directory, backend) as cluster:
            tell(f"election        the nodes a, b and c have elected {await cluster.leader()}")
            kept = await _write(cluster, 0)
            leader = await cluster.leader()  # on a busy machine there may be another one by now
            cluster.kill(leader)
            killed = time.perf_counter()
            successor = await cluster.leader(other_than=leader)
            seconds = time.perf_counter() - killed
            tell(f"failover        {leader} was killed without warning; {successor} leads after {seconds:.2f} s")
            kept |= await _write(cluster, _WRITES)
            await _compare(cluster, kept)
            await _return(cluster, leader)


async def _write(cluster: Cluster, first: int) -> dict[str, int]:
    """Set values; return those that were acknowledged, which is all of them while nothing fails."""
    acknowledged = {}
    for number in range(first, first + _WRITES):
        if await cluster.put(f"key-{number}", number):
            acknowledged[f"key-{number}"] = number
    return acknowledged


async def _compare(cluster: Cluster, kept: dict[str, int]) -> None:
    lost = [key for key, value in kept.items() if await cluster.get(key) != value]
    if lost or len(kept) < _WRITES:
        raise Surprise(f"{len(lost)} of {len(kept)} acknowledged writes are lost")
    tell(f"durable writes  all {len(kept)} of {2 * _WRITES} writes that were acknowledged are there, before and after")


async def _return(cluster: Cluster, name: str) -> None:
    """Start a killed node again and wait until it has everything."""
    cluster.start(name)
    await cluster.wait_started(name)
    target = (await cluster.stubs[await cluster.leader()].status(timeout=5))["applied"]
    returned = cluster.stubs[name].having(wait_for_ready=True)
    while (await returned.status(timeout=5))["applied"] < target:
        await anyio.sleep(0.005)  # another process: asking is the only way to know
    tell(f"recovery        {name} was started again on its own disk and has all {target} entries")
