"""What mypy must make of resolvers, policies and states (``make types``); never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from orbit_net.client import (
    Channel,
    Connectivity,
    LeastRequest,
    NodesResolver,
    OutlierDetection,
    Resolution,
    Resolver,
    RingHash,
    ServiceConfig,
    SubchannelPool,
    register_resolver,
)
from orbit_net.load import LoadMetrics, LoadReporting, OrcaService
from orbit_net.server import Server, current_call

if TYPE_CHECKING:
    from orbit_net.directory import EtcdNodeResolver, StaticNodeResolver


class Mine:
    """All that a resolver needs."""

    authority = "mine"

    def __init__(self, target: str) -> None:
        self.target = target

    async def resolve(self) -> Resolution:
        return Resolution(endpoints=())


class NotOne:
    """It does not say an authority."""

    async def resolve(self) -> Resolution:
        return Resolution(endpoints=())


def resolvers(listed: StaticNodeResolver, etcd: EtcdNodeResolver) -> None:
    register_resolver("mine", Mine)
    found: Resolver = NodesResolver(listed)
    found = NodesResolver(etcd, "Cart")
    Channel("x", resolver=found)
    Channel("x", resolver=NotOne())  # type: ignore[arg-type]


def policies() -> None:
    Channel("x", balancing=OutlierDetection(child=LeastRequest(choices=3)))
    ServiceConfig(balancing=RingHash(header="user"), health_check="")
    Channel("x", balancing="round_robin")  # type: ignore[arg-type]
    OutlierDetection(child=OutlierDetection())  # type: ignore[arg-type]


async def states(channel: Channel) -> None:
    assert_type(await channel.wait_for_state_change(Connectivity.READY), Connectivity)
    async for state in channel.states():
        assert_type(state, Connectivity)


async def sharing() -> None:
    async with SubchannelPool() as shared, Channel("x", subchannels=shared):
        pass


def loads() -> None:
    metrics = LoadMetrics()
    Server([OrcaService(metrics)], interceptors=[LoadReporting(metrics)])
    current_call().record_load(qps=3, costs={"rows": 2})
    current_call().record_load(qps="3")  # type: ignore[arg-type]
