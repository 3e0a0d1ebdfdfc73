"""Asking one connected server about itself: whether it is healthy (gRFC A17), and how busy it is (gRFC A51)."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from grpclib.const import Cardinality

from orbit_net.client.load import LoadReport
from orbit_net.context import inherited_deadline
from orbit_net.errors import OrbitError, RpcError
from orbit_net.proto.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
)
from orbit_net.proto.xds.service.orca.v3 import OrcaLoadReportRequest
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from orbit_net.client.backoff import BackoffPolicy
    from orbit_net.client.balance.backend import Backend
    from orbit_net.client.balance.settings import WeightedRoundRobin
    from orbit_net.client.channel import Channel

__all__ = ["ask_health", "ask_load", "attend"]

_log = logging.getLogger("orbit_net.client")

_HEALTH: Final = "/grpc.health.v1.Health/Watch"
_LOAD: Final = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"


async def attend(
    backend: Backend,
    channel: Channel,
    service: str | None,
    load: WeightedRoundRobin | None,
    backoff: BackoffPolicy,
    random: Random,
) -> None:
    """Ask the server of ``backend`` for the health of ``service`` and for its load, until its scope is cancelled."""
    inherited_deadline.set(None)  # it may have been a call of a handler that connected
    scope = backend.scope
    if scope is None:
        return
    with scope:
        async with anyio.create_task_group() as tasks:
            if service is not None:
                tasks.start_soon(ask_health, channel, service, backend.be_healthy, backoff, random)
            if load is not None:
                report = partial(backend.report, settings=load)
                tasks.start_soon(ask_load, channel, load.report_period, report, backoff, random)


async def ask_health(
    channel: Channel,
    service: str,
    told: Callable[[bool | None], None],
    backoff: BackoffPolicy,
    random: Random,
) -> None:
    """Tell whether ``service`` is SERVING now and after each change; returns when the server cannot say.

    A server without the health service counts as healthy and is not asked again on this connection. When the stream
    ends otherwise the server is not healthy until it has said so again.
    """

    def answered(answer: HealthCheckResponse) -> None:
        told(answer.status == HealthCheckResponseServingStatus.SERVING)

    request = HealthCheckRequest(service=service)
    if await _ask(channel, _HEALTH, request, HealthCheckResponse, answered, lambda: told(False), backoff, random):
        _log.warning("%r has no health service: it counts as healthy", channel.line)
        told(True)


async def ask_load(
    channel: Channel,
    period: float,
    told: Callable[[LoadReport], None],
    backoff: BackoffPolicy,
    random: Random,
) -> None:
    """Tell each report of a server that sends one every ``period`` seconds; returns when it cannot."""
    request = OrcaLoadReportRequest(report_interval=timedelta(seconds=period))
    if await _ask(channel, _LOAD, request, LoadReport, told, lambda: None, backoff, random):
        _log.warning("%r does not report its load", channel.line)


async def _ask(
    channel: Channel,
    path: str,
    request: Any,
    reply_type: type[Any],
    answered: Callable[[Any], None],
    lost: Callable[[], None],
    backoff: BackoffPolicy,
    random: Random,
) -> bool:
    """Read the stream, and open it again with backoff when it ends; returns True when there is no such method."""
    failures = 0
    while True:
        began = anyio.current_time()
        try:
            async with channel.request(
                path, Cardinality.UNARY_STREAM, type(request), reply_type, retry=False, wait_for_ready=False
            ) as call:
                await call.send_message(request, end=True)
                async for answer in call:
                    failures = 0
                    answered(answer)
        except RpcError as error:
            if error.status is Status.UNIMPLEMENTED:
                return True
            _log.info("%s on %r: %s", path, channel.line, error)
        except OrbitError as error:
            _log.info("%s on %r: %s", path, channel.line, error)
        lost()
        failures += 1
        await anyio.sleep_until(began + backoff.delay(failures, random))
