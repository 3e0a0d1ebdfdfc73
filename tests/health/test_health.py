"""Health: the registry, and both services over it."""

import anyio
import pytest
from grpclib.const import Status

from orbit_net.client import Channel
from orbit_net.errors import RpcError
from orbit_net.health import OVERALL, GrpcHealthService, HealthRegistry, OrbitHealthService, ServingStatus
from orbit_net.proto.grpc.health import v1
from orbit_net.proto.grpc.health.v1.services import HealthStub
from orbit_net.proto.orbit import shared
from orbit_net.proto.orbit.shared.services import HealthServiceStub
from orbit_net.server import Server
from patience import until_begun

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served():
    """A registry, and a stub with its request class for each of the two protocols."""
    registry = HealthRegistry()
    async with Server([OrbitHealthService(registry), GrpcHealthService(registry)]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel:
            faces = [
                (HealthServiceStub(channel), shared.HealthCheckRequest),
                (HealthStub(channel), v1.HealthCheckRequest),
            ]
            yield registry, faces


async def test_check_tells_the_status_of_each_service(served):
    """Both protocols tell the same registered status."""
    registry, faces = served
    registry.set("store", ServingStatus.NOT_SERVING)
    for stub, request in faces:
        assert (await stub.check(request(service="store"))).status == ServingStatus.NOT_SERVING
        assert (await stub.check(request(service=OVERALL))).status == ServingStatus.SERVING
        assert (await stub.check(request(service="orbit"))).status == ServingStatus.SERVING


async def test_check_of_an_unknown_service_is_not_found(served):
    """A service that nobody registered gives NOT_FOUND."""
    for stub, request in served[1]:
        with pytest.raises(RpcError, match="nobody") as caught:
            await stub.check(request(service="nobody"))
        assert caught.value.status is Status.NOT_FOUND


async def test_watch_stays_open_and_tells_each_change(served):
    """A watch begins with SERVICE_UNKNOWN for an unknown service and sees it come, change and go."""
    registry, faces = served
    for stub, request in faces:
        async with stub.watch(request(service="late")) as watch:
            assert (await anext(watch)).status == ServingStatus.SERVICE_UNKNOWN
            for status in (ServingStatus.SERVING, ServingStatus.NOT_SERVING):
                registry.set("late", status)
                assert (await anext(watch)).status == status
            registry.remove("late")
            assert (await anext(watch)).status == ServingStatus.SERVICE_UNKNOWN


async def test_watch_ends_with_its_caller_and_not_before(served):
    """A watch without a change waits until its deadline."""
    stub, request = served[1][0]
    seen = []

    async def call(timeout):
        with pytest.raises(RpcError) as caught:
            async with stub.watch(request(service="orbit"), timeout=timeout) as watch:
                while True:
                    seen.append((await anext(watch)).status)
        assert caught.value.status is Status.DEADLINE_EXCEEDED

    await until_begun(call, lambda: seen)
    assert set(seen) == {ServingStatus.SERVING}


async def test_a_slow_watcher_sees_the_latest_only():
    """Changes that are over before the watcher looks are not kept."""
    registry = HealthRegistry()
    watch = registry.watch(OVERALL)
    assert await anext(watch) is ServingStatus.SERVING
    for _ in range(1000):
        registry.set(OVERALL, ServingStatus.NOT_SERVING)
        registry.set(OVERALL, ServingStatus.UNKNOWN)
    assert await anext(watch) is ServingStatus.UNKNOWN
    with anyio.move_on_after(0.01) as scope:
        await anext(watch)
    assert scope.cancelled_caught
    await watch.aclose()


async def test_shutting_down_is_for_good(served):
    """After shut_down everything is NOT_SERVING, and later sets are ignored."""
    registry, faces = served
    registry.set("store", ServingStatus.SERVING)
    registry.shut_down()
    registry.set("store", ServingStatus.SERVING)
    registry.remove("store")
    for stub, request in faces:
        assert (await stub.check(request(service="store"))).status == ServingStatus.NOT_SERVING
    assert repr(registry) == "<HealthRegistry overall NOT_SERVING, orbit NOT_SERVING, store NOT_SERVING, shut down>"


async def test_list_tells_all_services_up_to_a_hundred(served):
    """List (gRFC A90) answers with every service, and with RESOURCE_EXHAUSTED above 100."""
    registry, faces = served
    stub = faces[1][0]
    listed = await stub.list(v1.HealthListRequest())
    assert {name: answer.status for name, answer in listed.statuses.items()} == {"": 1, "orbit": 1}
    for number in range(100):
        registry.set(f"service-{number}", ServingStatus.SERVING)
    with pytest.raises(RpcError) as caught:
        await stub.list(v1.HealthListRequest())
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_set_serving_status_sets_the_node():
    """OrbitHealthService sets the whole server and the service orbit."""
    service = OrbitHealthService()
    await service.set_serving_status(ServingStatus.NOT_SERVING)
    assert dict(service.registry.statuses) == {"": ServingStatus.NOT_SERVING, "orbit": ServingStatus.NOT_SERVING}
