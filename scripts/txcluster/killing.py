"""Kills nodes at the worst moments while clients move money, and looks whether anything is lost."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from orbit_net.errors import RpcError
from txcluster.bank import INITIAL
from txcluster.cluster import Cluster
from txcluster.dying import MOMENTS

_SETTLE = 60.0
"""Seconds within which everything must be over once nobody is killed any more."""


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``wrong`` lists what must not be."""

    kills: dict[str, int]
    committed: int
    aborted: int
    unknown: int
    settled: float
    wrong: list[str]

    def __str__(self) -> str:
        kills = ", ".join(f"{number} {moment}" for moment, number in self.kills.items())
        return (
            f"{sum(self.kills.values())} nodes killed ({kills}); {self.committed:,} transfers committed, "
            f"{self.aborted:,} aborted, {self.unknown} of which the client heard nothing; "
            f"all over {self.settled:.1f} s after the last; {len(self.wrong)} wrong"
        )


async def kill_nodes(directory: Path, backend: str, times: int, *, clients: int = 4, seed: int = 1) -> Outcome:
    """Run three nodes on ``backend``, kill one ``times`` times and start it again."""
    chance = random.Random(seed)
    told: dict[str, str] = {}
    kills = dict.fromkeys(MOMENTS, 0)
    async with Cluster(3, directory, backend, accounts=6) as cluster:
        names = list(cluster.hosts)

        async def client(number: int) -> None:
            count = 0
            while True:
                count += 1
                transfer = f"{number}.{count}"
                source, target = chance.sample([(name, place) for name in names for place in range(6)], 2)
                amount = chance.randrange(1, 50)
                told[transfer] = "unknown"
                try:
                    moves = [(source, -amount), (target, amount)]
                    told[transfer] = await cluster.stubs[chance.choice(names)].transfer(transfer, moves, timeout=10.0)
                except RpcError:
                    await anyio.sleep(0.01)  # that node is down: the others go on

        async def progress(more: int) -> None:
            wanted = committed() + more
            with anyio.fail_after(30):
                while committed() < wanted:
                    await anyio.sleep(0.01)  # the clients are tasks beside; a condition each would say less

        def committed() -> int:
            return sum(state.startswith("COMMIT") for state in told.values())

        async with anyio.create_task_group() as tasks:
            for number in range(clients):
                tasks.start_soon(client, number)
            for number in range(times):
                await progress(20)
                moment = MOMENTS[number % len(MOMENTS)]
                await _kill(cluster, chance.choice(names), moment)
                kills[moment] += 1
            tasks.cancel_scope.cancel()
        settled = await _settle(cluster)
        wrong = await _wrong(cluster, told)
    count = [sum(state.startswith(start) for state in told.values()) for start in ("COMMIT", "ABORT", "unknown")]
    return Outcome(kills, *count, settled, wrong)


async def _kill(cluster: Cluster, name: str, moment: str) -> None:
    with anyio.fail_after(30):
        with suppress(RpcError):  # it may die before it has answered
            await cluster.stubs[name].having(wait_for_ready=True).arm(moment, timeout=10.0)
        await cluster.wait_died(name)
    cluster.start(name)
    await cluster.wait_started(name)


async def _settle(cluster: Cluster) -> float:
    """Wait until nothing is under way or in doubt anywhere; return the seconds that took."""
    began = time.monotonic()
    with anyio.fail_after(_SETTLE):
        for stub in cluster.stubs.values():
            while await stub.having(wait_for_ready=True).open(timeout=10.0):
                await anyio.sleep(0.02)  # other processes: asking is the only way to know
    return time.monotonic() - began


async def _wrong(cluster: Cluster, told: dict[str, str]) -> list[str]:
    """Compare what the clients were told with what the accounts remember."""
    states = {}
    for stub in cluster.stubs.values():
        states |= await stub.states(timeout=10.0)
    found: dict[str, int] = {}
    for state in states.values():
        for transfer in state["transfers"]:
            found[transfer] = found.get(transfer, 0) + 1
    wrong = [f"{transfer} is on {number} accounts, not 2" for transfer, number in found.items() if number != 2]
    wrong += [
        f"{transfer} was {state}, and is gone" for transfer, state in told.items() if _lost(transfer, state, found)
    ]
    wrong += [f"{transfer} was aborted, and is there" for transfer in found if told[transfer] == "ABORTED"]
    total, expected = sum(state["balance"] for state in states.values()), INITIAL * len(states)
    return wrong if total == expected else [*wrong, f"there is {total} instead of {expected}"]


def _lost(transfer: str, state: str, found: dict[str, int]) -> bool:
    return state.startswith("COMMIT") and transfer not in found
