"""Weights that servers report: with their calls and beside them, and how well the shares follow."""

from datetime import timedelta

import pytest
from grpclib.const import Cardinality

from echo import Echo, EchoStub
from fleet import EitherCodec, fleet, ready
from orbit_net.client import Channel, WeightedRoundRobin
from orbit_net.client.load import LoadReader
from orbit_net.errors import ConfigurationError, LocalProtocolError
from orbit_net.load import LoadMetrics, LoadReporting, OrcaService, Rate
from orbit_net.proto.xds.data.orca.v3 import OrcaLoadReport
from orbit_net.proto.xds.service.orca.v3 import OrcaLoadReportRequest
from orbit_net.proto.xds.service.orca.v3.services import OpenRcaServiceStub
from orbit_net.server import Server, current_call
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.once]

KEY = b"endpoint-load-metrics-bin"
UNARY = (Cardinality.UNARY_UNARY, bytes, bytes)
UTILIZATION = (0.2, 0.4, 0.8)


def shares(found):
    """Return the part of each server, and the part that it should have."""
    total, weights = sum(found.values()), [1 / used for used in UTILIZATION]
    return [(found[n] / total, weight / sum(weights)) for n, weight in enumerate(weights)]


async def asked(stub, number):
    """Return how often each server answered."""
    found = dict.fromkeys(range(3), 0)
    for _ in range(number):
        found[int(await stub.unary(b"x"))] += 1
    return found


async def test_shares_follow_the_load_reports_of_calls():
    """Each server has its share within 10 %, also after the loads have changed places."""
    balancing = WeightedRoundRobin(blackout=0, update_period=0.1)
    used = list(UTILIZATION)
    async with fleet(3, balancing=balancing) as (servers, channel, stub):
        for number, service in enumerate(servers.services):
            plain = service.unary

            async def unary(request, number=number, plain=plain):
                current_call().record_load(application_utilization=used[number], qps=100)
                return await plain(request)

            service.unary = unary
        # A handler is looked up when the server is made, so these take effect with new ones.
        for number in range(3):
            await servers.stop(number)
            await servers.start(number)
        await stub.having(wait_for_ready=True).unary(b"x")
        await until(lambda: ready(channel) == 3)
        assert "round_robin" in repr(channel)
        await asked(stub, 6)
        await until(lambda: len(set(channel.line.policy._weights)) == 3)
        for is_share, due in shares(await asked(stub, 700)):
            assert is_share == pytest.approx(due, rel=0.1)
        assert "weight 500" in repr(channel)
        used.reverse()
        before = channel.line.policy._weights
        await asked(stub, 30)
        await until(lambda: channel.line.policy._weights == before[::-1])
        parts = [part for part, _ in shares(await asked(stub, 700))]
        assert parts == pytest.approx([1 / 7, 2 / 7, 4 / 7], rel=0.1)


async def test_shares_follow_reports_out_of_band():
    """The servers are asked on a stream beside the calls, and say it without one."""
    balancing = WeightedRoundRobin(blackout=0, update_period=0.1, out_of_band=True, report_period=0.05)
    metrics = {}

    def beside(service):
        mine = metrics[service.name] = LoadMetrics()
        mine.set(application_utilization=UTILIZATION[int(service.name)], qps=50)
        return [OrcaService(mine, minimum_interval=0.01)]

    async with fleet(3, server={"beside": beside}, balancing=balancing) as (servers, channel, stub):
        channel.connect()
        await until(lambda: ready(channel) == 3)
        await stub.unary(b"x")
        await until(lambda: len(set(channel.line.policy._weights)) == 3)
        for is_share, due in shares(await asked(stub, 700)):
            assert is_share == pytest.approx(due, rel=0.1)
        metrics[b"0"].set(application_utilization=0.8)
        await until(lambda: channel.line.policy._weights[0] == channel.line.policy._weights[2])
        # Its stream ends with its connection, and begins again with the next one.
        await servers.stop(1)
        await until(lambda: ready(channel) == 2)
        await servers.start(1)
        await until(lambda: ready(channel) == 3)
        await stub.unary(b"x")
        await until(lambda: channel.line.policy._weights == [62.5, 125, 62.5])


async def test_servers_that_do_not_report():
    """Without a service for it, and without reports in trailers, the weights of the target count."""
    balancing = WeightedRoundRobin(blackout=0, update_period=0.1, out_of_band=True)
    async with fleet(3, balancing=balancing) as (_, channel, stub):
        await stub.unary(b"x")
        await until(lambda: ready(channel) == 3)
        assert await asked(stub, 30) == {0: 10, 1: 10, 2: 10}
        assert all(backend.reported is None for backend in channel.line.backends)


class Reporting(Echo):
    """Records a load."""

    async def unary(self, request):
        current_call().record_load(costs={"rows": 7}, cpu_utilization=0.25)
        current_call().record_load(costs={"bytes": 3}, cpu_utilization=0.5, named_metrics={"temperature": -4})
        current_call().set_trailing_metadata({"a": "b"})
        return request

    async def sum(self, requests):
        with pytest.raises(LocalProtocolError, match="the load qps is -1; it must be a number of at least 0"):
            current_call().record_load(qps=-1)
        with pytest.raises(LocalProtocolError, match="the load eps is nan"):
            current_call().record_load(eps=float("nan"))
        with pytest.raises(LocalProtocolError, match="the load costs is 'x'; it must be a number"):
            current_call().record_load(costs={"a": "x"})
        return b"0"


async def test_a_handler_records_its_load():
    """It goes with the trailers, beside their metadata, and is completed by the server's own report."""
    metrics = LoadMetrics(clock=lambda: 100.0, cpu=lambda: 1.0)
    metrics.set(cpu_utilization=0.9, memory_utilization=0.75)
    for interceptors in ((), (LoadReporting(metrics),)):
        async with Server([Reporting()], codec=EitherCodec(), interceptors=interceptors) as server:
            [target] = await server.listen("127.0.0.1:0")
            async with Channel(target, codec=EitherCodec()) as channel:
                stub = EchoStub(channel)
                assert await stub.sum([b"1"]) == b"0"
                for _ in range(2):
                    async with stub.channel.request("/test.Echo/Unary", *UNARY) as call:
                        await call.send_message(b"x", end=True)
                        await call.recv_message()
                        await call.recv_trailing_metadata()
                        assert call.trailing_metadata["a"] == "b"
                        data = call.trailing_metadata["endpoint-load-metrics-bin"]
        report = OrcaLoadReport.FromString(data)
        assert report.request_cost == {"rows": 7, "bytes": 3}
        assert (report.cpu_utilization, report.named_metrics) == (0.5, {"temperature": -4})
        assert report.mem_utilization == (0.75 if interceptors else 0)
        assert report.rps_fractional == (2 if interceptors else 0)


def test_rates():
    """By the second, over the last ten, and zero when nothing happens any more."""
    rate = Rate()
    assert rate.per_second(0.0) == 0
    for number in range(1_000):
        rate.add(100 + number / 50)
    assert rate.per_second(120.0) == pytest.approx(50, rel=0.02)
    assert len(rate._counts) <= 12
    assert rate.per_second(125.0) == pytest.approx(25, rel=0.1)
    assert rate.per_second(140.0) == 0
    rate.add(200.0)
    assert rate.per_second(200.0) == 1


def test_metrics_measure():
    """Calls, errors and the processor; what is set goes first."""
    now, used = [10.0], [1.0]
    metrics = LoadMetrics(clock=lambda: now[0], cpu=lambda: used[0])
    for number in range(20):
        metrics.count(ok=number % 4 != 0)
    assert metrics.report().application_utilization == 0
    now[0], used[0] = 12.0, 2.0
    report = metrics.report()
    assert (report.rps_fractional, report.eps, report.application_utilization) == (10, 2.5, 0.5)
    metrics.set(qps=77, application_utilization=0.1)
    assert (metrics.report().rps_fractional, metrics.report().application_utilization) == (77, 0.1)
    metrics.set(qps=None)
    assert metrics.report().rps_fractional == 10
    assert repr(metrics) == "<LoadMetrics 10.0 calls/s, 2.5 errors/s>"
    with pytest.raises(LocalProtocolError, match="the load qps is -1"):
        metrics.set(qps=-1)


async def test_the_service_obeys_its_client_within_limits():
    """Reports come as often as asked for, and only the costs that are named."""
    with pytest.raises(ConfigurationError, match="minimum_interval is 0"):
        OrcaService(LoadMetrics(), minimum_interval=0)
    metrics = LoadMetrics()
    metrics.set(costs={"a": 1.0, "b": 2.0})
    async with Server([OrcaService(metrics, minimum_interval=0.01)]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel:
            request = OrcaLoadReportRequest(report_interval=timedelta(seconds=0.02), request_cost_names=["b"])
            reports = []
            async with OpenRcaServiceStub(channel).stream_core_metrics(request) as stream:
                async for report in stream:
                    reports.append(report)
                    if len(reports) == 3:
                        break
            assert [report.request_cost for report in reports] == [{"b": 2.0}] * 3


def test_broken_reports_are_ignored():
    """A report that is no base64, or no protobuf, does the call no harm."""

    class Trailers(dict):
        pass

    reader = LoadReader()
    assert reader.read(Trailers()) is None
    assert reader.read(Trailers({KEY: b"!!"})) is None
    assert reader.read(Trailers({KEY: b"CQ"})) is None
    metrics = LoadMetrics(clock=lambda: 1.0)
    metrics.set(qps=5)
    first = reader.read(Trailers([metrics.field()]))
    assert first.rps_fractional == 5
    assert reader.read(Trailers([metrics.field()])) is first, "the same again is not read again"
    metrics.set(qps=6)
    assert reader.read(Trailers([metrics.field()])).rps_fractional == 6


def test_a_report_is_made_ten_times_a_second():
    """It is told again in between, whatever happens."""
    now = [1.0]
    metrics = LoadMetrics(clock=lambda: now[0])
    first = metrics.field()
    metrics.count(ok=True)
    assert metrics.field() is first
    now[0] = 1.11
    assert metrics.field() != first
