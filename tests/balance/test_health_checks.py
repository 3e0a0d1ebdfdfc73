"""Client-side health checks (gRFC A17): who says that it is not serving is not picked."""

import pytest
from h2.errors import ErrorCodes

from echo import EchoStub
from fleet import FAST, EitherCodec, fleet, ready, servers_only
from orbit_net.client import Channel, Connectivity, RingHash, RoundRobin, ServiceConfig
from orbit_net.errors import RpcError
from orbit_net.health import GrpcHealthService, HealthRegistry, ServingStatus
from orbit_net.net import Failure
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio

CHECKED = ServiceConfig(balancing=RoundRobin(), health_check="shop")


class Registries:
    """A registry for each server, by its name; a server without one has no health service."""

    def __init__(self, *without):
        self.by_name = {}
        self._without = without
        self.asked = 0

    def __call__(self, service):
        if int(service.name) in self._without:
            return []
        registry = self.by_name.setdefault(service.name, HealthRegistry())
        return [Counting(registry, self)]

    def set(self, number, status):
        """Set the status of the service on one server."""
        self.by_name[b"%d" % number].set("shop", status)


class Counting(GrpcHealthService):
    """Counts its watchers; breaks their streams when told to."""

    def __init__(self, registry, owner):
        super().__init__(registry)
        self._owner = owner

    async def watch(self, request):
        self._owner.asked += 1
        assert request.service == "shop"
        async for answer in super().watch(request):
            yield answer


async def answers(stub, number):
    """Return who answers."""
    return {int(await stub.unary(b"x")) for _ in range(number)}


async def test_only_healthy_servers_are_picked():
    """Not before the first answer, not while it is another than SERVING, and at once when it is SERVING again."""
    registries = Registries()
    async with fleet(2, server={"beside": registries}, service_config=CHECKED) as (_, channel, stub):
        channel.connect()
        await until(lambda: sum("not serving" in repr(one) for one in channel.line.backends) == 2)
        assert channel.state is Connectivity.TRANSIENT_FAILURE, "SERVICE_UNKNOWN is not SERVING"
        with pytest.raises(RpcError, match=r"none of 2 backends is ready: .* says that it is not serving") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        registries.set(0, ServingStatus.SERVING)
        await until(lambda: ready(channel) == 1)
        assert await answers(stub, 6) == {0}
        registries.set(1, ServingStatus.SERVING)
        await until(lambda: ready(channel) == 2)
        assert await answers(stub, 6) == {0, 1}
        registries.set(0, ServingStatus.NOT_SERVING)
        await until(lambda: ready(channel) == 1)
        assert await answers(stub, 6) == {1}
        assert registries.asked == 2


async def test_a_server_without_the_service_is_healthy():
    """UNIMPLEMENTED: it is taken as healthy, and is not asked again."""
    registries = Registries(0)
    async with fleet(2, server={"beside": registries}, service_config=CHECKED) as (_, channel, stub):
        channel.connect()
        await until(lambda: ready(channel) == 1)
        assert await answers(stub, 6) == {0}
        assert channel.line.subchannels[0].streams == 0, "its question has been answered"
        registries.by_name[b"1"].set("shop", ServingStatus.SERVING)
        await until(lambda: ready(channel) == 2)


async def test_a_stream_that_is_lost():
    """The server is not healthy until it has said so again: after a backoff, or on a new connection."""
    registries = Registries()
    async with fleet(1, server={"beside": registries}, service_config=CHECKED) as (servers, channel, stub):
        channel.connect()
        await until(lambda: registries.asked == 1)
        registries.set(0, ServingStatus.SERVING)
        await until(lambda: ready(channel) == 1)
        # The health service ends the stream, and the connection stays.
        connection = channel.subchannel.connection
        [stream] = connection._streams.values()
        stream.reset(ErrorCodes.CANCEL)
        stream.fail(Failure(Status.UNAVAILABLE, "torn"))
        await until(lambda: not ready(channel))
        await until(lambda: registries.asked == 2 and ready(channel) == 1)
        assert channel.subchannel.connection is connection
        await servers.stop(0)
        await until(lambda: not ready(channel))
        await servers.start(0)
        await until(lambda: registries.asked == 3 and ready(channel) == 1)
        assert await answers(stub, 1) == {0}


async def test_a_ring_of_healthy_servers():
    """A call waits for the first word of its server; keys of one that is not serving go to the next, and come back."""
    registries = Registries()
    config = ServiceConfig(balancing=RingHash(), health_check="shop")
    async with fleet(2, server={"beside": registries}, service_config=config) as (_, channel, stub):
        for number in range(2):
            registries.set(number, ServingStatus.SERVING)

        async def homes():
            return [int(await stub.having(hash_key=f"user-{n}").unary(b"x")) for n in range(20)]

        before = await homes()
        assert set(before) == {0, 1}
        registries.set(0, ServingStatus.NOT_SERVING)
        await until(lambda: ready(channel) == 1)
        assert set(await homes()) == {1}
        registries.set(0, ServingStatus.SERVING)
        await until(lambda: ready(channel) == 2)
        assert await homes() == before
        assert not len(channel.line._waiting)


async def test_pick_first_does_not_ask():
    """As in other clients of gRPC (A17): there is nobody else to choose."""
    registries = Registries()
    config = ServiceConfig(health_check="shop")
    async with servers_only(2, beside=registries) as servers:
        async with Channel(servers.static, codec=EitherCodec(), settings=FAST, service_config=config) as channel:
            assert await answers(EchoStub(channel), 2) == {0}
    assert registries.asked == 0
