"""Servers that tests start and stop, and a channel to all of them."""

from contextlib import asynccontextmanager
from random import Random

import anyio
from grpclib.exceptions import GRPCError

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings
from orbit_net.codec import Codec
from orbit_net.server import Server
from orbit_net.status import Status

FAST = ChannelSettings(backoff=BackoffPolicy(initial=0.02, maximum=0.05))


class EitherCodec(RawCodec):
    """Bytes are bytes, and messages are protobuf: for raw services beside generated ones."""

    _messages = Codec()

    def encode(self, message, message_type):
        return message if message_type is bytes else self._messages.encode(message, message_type)

    def decode(self, data, message_type):
        return data if message_type is bytes else self._messages.decode(data, message_type)


class Named(Echo):
    """Says who it is; fails or waits when told to."""

    def __init__(self, name):
        self.name = name
        self.failing = False
        self.gate = None

    async def unary(self, request):
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise GRPCError(Status.INTERNAL, "out of order")
        return self.name


class Fleet:
    """Servers on ports of their own, each in a task of its own. ``beside(service)`` gives what else a server serves."""

    def __init__(self, tasks, *, beside=lambda service: (), **options):
        self.services = []
        self.targets = []
        self._stops = []
        self._tasks = tasks
        self._beside = beside
        self._options = options

    async def start(self, number=None):
        """Start one more server, or the stopped one of this number on its old port."""
        if number is None:
            number = len(self.services)
            self.services.append(Named(b"%d" % number))
            self.targets.append("127.0.0.1:0")
            self._stops.append(None)
        await self._tasks.start(self._serve, number)
        return number

    async def _serve(self, number, *, task_status):
        service, stop, stopped = self.services[number], anyio.Event(), anyio.Event()
        services = [service, *self._beside(service)]
        async with Server(services, **{"codec": EitherCodec(), **self._options}) as server:
            [self.targets[number]] = await server.listen(self.targets[number])
            self._stops[number] = stop, stopped
            task_status.started()
            await stop.wait()
        stopped.set()

    async def stop(self, number):
        """End a server and its connections."""
        stop, stopped = self._stops[number]
        self._stops[number] = None
        stop.set()
        await stopped.wait()

    async def close(self):
        """End all of them."""
        for number, running in enumerate(self._stops):
            if running is not None:
                await self.stop(number)

    @property
    def static(self):
        """All of them as one target."""
        return "static:" + ",".join(self.targets)


@asynccontextmanager
async def servers_only(count, **options):
    """Give servers."""
    async with anyio.create_task_group() as tasks:
        servers = Fleet(tasks, **options)
        try:
            for _ in range(count):
                await servers.start()
            yield servers
        finally:
            with anyio.CancelScope(shield=True):
                await servers.close()


@asynccontextmanager
async def fleet(count, *, server=None, target=None, **options):
    """Give servers, a channel to all of them, and its stub."""
    async with servers_only(count, **(server or {})) as servers:
        options = {"settings": FAST, "random": Random(7), "codec": RawCodec(), **options}
        async with Channel(target or servers.static, **options) as channel:
            yield servers, channel, EchoStub(channel, timeout=10.0)


def ready(channel):
    """Return how many backends can be picked."""
    return len(channel.line.backends.ready)
