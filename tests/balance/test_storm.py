"""Every policy while servers stop, start, slow down and fail under load."""

from collections import Counter
from random import Random

import anyio
import pytest

from fleet import FAST, fleet
from orbit_net.client import (
    Connectivity,
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RetryPolicy,
    RingHash,
    RoundRobin,
    ServiceConfig,
    WeightedRoundRobin,
)
from orbit_net.client.config.service_config import MethodConfig
from orbit_net.errors import RpcError
from orbit_net.load import LoadMetrics, LoadReporting
from orbit_net.status import Status
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

SEED = 20261127
AGAIN = RetryPolicy(
    max_attempts=5,
    initial_backoff=0.01,
    max_backoff=0.05,
    backoff_multiplier=2.0,
    retryable_status_codes={Status.UNAVAILABLE},
)
POLICIES = {
    "pick_first": PickFirst(),
    "round_robin": RoundRobin(),
    "weighted_round_robin": WeightedRoundRobin(blackout=0, update_period=0.1),
    "least_request": LeastRequest(),
    "ring_hash": RingHash(),
    "outlier_detection": OutlierDetection(
        interval=0.1,
        base_ejection=0.2,
        success_rate=None,
        failure_percentage=FailurePercentage(request_volume=3, minimum_hosts=3),
        max_ejected_percent=50,
    ),
}


@pytest.mark.parametrize("name", POLICIES)
async def test_servers_that_stop_start_slow_down_and_fail(name):
    """No call hangs or is lost; what fails, fails for a reason of the moment; in the end all is as in the beginning."""
    print(f"seed {SEED}")
    random, outcomes, after = Random(SEED), Counter(), Counter()
    config = ServiceConfig(methods=(MethodConfig(retry=AGAIN),), balancing=POLICIES[name])
    metrics = LoadMetrics()
    options = {"server": {"interceptors": [LoadReporting(metrics)]}, "service_config": config, "random": random}
    async with fleet(4, settings=FAST, **options) as (servers, channel, stub):
        stub, running = stub.having(timeout=8.0), True

        async def caller(number):
            key = 0
            while running:
                key += 1
                try:
                    await stub.having(hash_key=f"{number}-{key % 7}").unary(b"x")
                    outcomes["ok"] += 1
                except RpcError as error:
                    outcomes[error.status] += 1

        async def progress(calls=150):
            """Let that many further calls end well, whatever is the matter with some server."""
            due = outcomes["ok"] + calls
            await until(lambda: outcomes["ok"] >= due)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(caller, number)
            await progress()
            await servers.stop(0)
            await progress()
            await servers.stop(2)
            await progress()
            await servers.start(0)
            await progress()
            await servers.start(2)
            await progress()
            slow = servers.services[1]
            slow.gate = anyio.Event()
            # Calls to it wait; with policies that do not look at that, all callers may, one after the other.
            waiting = channel.line.subchannels
            await until(lambda: outcomes.total() and any(one.active for one in waiting))
            await anyio.sleep(0.05)  # how long it is slow
            slow.gate.set()
            slow.gate = None
            await progress()
            servers.services[3].failing = True
            failed = outcomes[Status.INTERNAL]
            if name != "pick_first":
                await until(lambda: outcomes[Status.INTERNAL] > failed)
            await progress()
            servers.services[3].failing = False
            await progress()
            running = False
        print(name, dict(outcomes))
        assert set(outcomes) <= {"ok", Status.UNAVAILABLE, Status.INTERNAL}
        if name != "pick_first":
            await until(lambda: len(channel.line.backends.ready) == 4 or name == "ring_hash")
        assert channel.state is Connectivity.READY
        for number in range(200):
            after[await stub.having(hash_key=str(number)).unary(b"x")] += 1
        assert after.total() == 200
        assert len(after) == (1 if name == "pick_first" else 4)
        assert not channel.line._waiting
        assert not len(channel.line._rows)
        assert not len(channel.timers)
        await until(lambda: sum(one.active for one in channel.line.subchannels) == 0)
