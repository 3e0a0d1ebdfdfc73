"""The interleaved run: every peer takes its turn in every round, with fresh processes each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .peers import Peer
from .processes import Worker, WorkerFailed
from .workloads import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure; `calls` fixes the number of calls a cell, else it follows from `seconds`."""

    rounds: int
    seconds: float
    calls: int | None = None
    limit_seconds: float = 60.0

    @property
    def warm_seconds(self) -> float:
        """Long enough to have every code path specialised and every buffer grown: 0.3 s is thousands of calls."""
        return min(0.3, self.seconds)


@dataclass(frozen=True, slots=True)
class Sample:
    """One cell in one round; `cpu_us` is CPU microseconds per unit of the workload, by side."""

    workload: str
    peer: str
    cpu_us: Mapping[str, float]
    rate: float
    p50_us: float | None
    p99_us: float | None


def run(
    peers: Sequence[Peer], workloads: Sequence[Workload], plan: Plan, say: Callable[[str], None]
) -> tuple[list[Sample], dict[str, str]]:
    """Measure, telling the progress to `say`; return the samples and, by peer, why it failed.

    A peer that fails is not tried again, since a hang costs a whole time limit; the others go on.
    """
    samples: list[Sample] = []
    failures: dict[str, str] = {}
    for number in range(1, plan.rounds + 1):
        for peer in peers:
            if peer.name in failures:
                continue
            say(f"round {number} of {plan.rounds}: {peer.name}")
            try:
                samples.extend(_turn(peer, workloads, plan))
            except WorkerFailed as failure:
                failures[peer.name] = str(failure)
    return samples, failures


def _turn(peer: Peer, workloads: Sequence[Workload], plan: Plan) -> Iterator[Sample]:
    with ExitStack() as stack:
        server = stack.enter_context(Worker("server", peer.name))
        address = server.answer(limit=plan.limit_seconds)["address"]
        client = stack.enter_context(Worker("client", peer.name, address))
        client.answer(limit=plan.limit_seconds)
        for workload in workloads:
            yield _measure(peer, workload, plan, client, server)


def _measure(peer: Peer, workload: Workload, plan: Plan, client: Worker, server: Worker) -> Sample:
    limit = plan.limit_seconds
    rate = client.ask(limit=limit, do="warm", workload=workload.name, seconds=plan.warm_seconds)["rate"]
    calls = plan.calls or max(1, round(rate * plan.seconds))
    before = server.ask(limit=limit, do="cpu")["cpu"]
    result = client.ask(limit=limit, do="measure", workload=workload.name, calls=calls)
    after = server.ask(limit=limit, do="cpu")["cpu"]
    return Sample(
        workload=workload.name,
        peer=peer.name,
        cpu_us={"client": result["cpu"] / calls * 1e6, "server": (after - before) / calls * 1e6},
        rate=calls / result["wall"],
        p50_us=result["p50"],
        p99_us=result["p99"],
    )
