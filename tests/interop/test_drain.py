"""A server goes, another one takes over, and not one call of a busy client fails."""

from __future__ import annotations

import threading

import anyio
import pytest
from grpclib.const import Cardinality

from echo import Echo, RawCodec
from grpcio_peer import GrpcioEcho, Signal, grpcio_client, grpcio_server, in_thread
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, Connectivity
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server

pytestmark = pytest.mark.anyio

BEFORE, AFTER = 200, 200
"""Calls that the first server answers before it goes, and the second one after it came."""


HELD = 5
"""Calls in the hands of the first server while it goes."""


async def listen_again(server, address):
    """Listen on an address that another server is just giving up."""
    while True:
        try:
            return await server.listen(address)
        except ConfigurationError:
            await anyio.wait_all_tasks_blocked()


class Tally:
    """Sets ``reached`` once it has counted more than ``enough`` calls, ``held`` of them that are held.

    The tests of this module share one interpreter lock between an event loop and the threads of grpcio: they wait for
    events, since a loop that asks again and again takes the lock from those that it waits for.
    """

    def __init__(self, reached, *, enough, held=0):
        self.reached = reached
        self._missing = {b"hold": held, b"": enough}

    def count(self, request):
        """Count a call."""
        kind = request if request == b"hold" else b""
        self._missing[kind] -= 1
        if not self.reached.is_set() and self._missing[b"hold"] <= 0 > self._missing[b""]:
            self.reached.set()


class Counting(Echo):
    """Counts its calls; the request ``hold`` is answered when ``go`` is set."""

    def __init__(self, tally):
        self.tally = tally
        self.go = anyio.Event()

    async def unary(self, request):
        self.tally.count(request)
        if request == b"hold":
            await self.go.wait()
        return request


async def test_our_server_drains_under_the_load_of_grpcio():
    """Calls in flight end with OK, and clients that come back find the next server on the same address."""
    first = Counting(Tally(anyio.Event(), enough=BEFORE, held=HELD))
    second = Counting(Tally(anyio.Event(), enough=AFTER))
    stop = threading.Event()

    def calls(stub):
        number = 0
        while not stop.is_set():
            number += 1
            assert stub.unary(b"%d" % number, wait_for_ready=True, timeout=15) == b"%d" % number

    def streams(stub):
        while not stop.is_set():
            requests = [b"%d" % number for number in range(20)]
            assert list(stub.chat(iter(requests), wait_for_ready=True, timeout=15)) == requests

    async with Server([first], codec=RawCodec()) as old, Server([second], codec=RawCodec()) as new:
        [target] = await old.listen("127.0.0.1:0")
        async with grpcio_client(target) as stub, grpcio_client(target) as other, anyio.create_task_group() as tasks:
            held = [stub.unary.future(b"hold", timeout=10) for _ in range(HELD)]
            for load, client in ((calls, stub), (calls, stub), (calls, other), (streams, other)):
                tasks.start_soon(in_thread, load, client)
            await first.tally.reached.wait()
            tasks.start_soon(old.drain, 15)
            assert await listen_again(new, target) == [target]
            await second.tally.reached.wait()
            first.go.set()
            for future in held:
                assert await in_thread(future.result) == b"hold"
            await old.wait_closed()
            stop.set()


class CountingThere(GrpcioEcho):
    """Counts its calls; the request ``hold`` is answered when ``go`` is set."""

    def __init__(self, tally):
        self.tally = tally
        self.go = threading.Event()
        self._lock = threading.Lock()

    def unary(self, request, context):
        """Answer with the request."""
        with self._lock:
            self.tally.count(request)
        if request == b"hold":
            self.go.wait(15)
        return request


class Load:
    """Keeps a channel busy until ``over``; begins no call between :meth:`pause` and :meth:`resume`."""

    def __init__(self, channel):
        self.over = False
        self.made = self.open = 0
        self._channel = channel
        self._resumed = anyio.Event()
        self._resumed.set()
        self._idle = anyio.Event()

    def _request(self, method, cardinality):
        path = f"/test.Echo/{method}"
        return self._channel.request(path, cardinality, bytes, bytes, timeout=15, wait_for_ready=True)

    async def call(self, request):
        """Make a unary call."""
        async with self._request("Unary", Cardinality.UNARY_UNARY) as stream:
            await stream.send_message(request, end=True)
            assert await stream.recv_message() == request

    async def calls(self):
        """Make one unary call after the other."""
        while not self.over:
            await self._resumed.wait()
            self.made += 1
            self.open += 1
            await self.call(b"%d" % self.made)
            self.open -= 1
            if not self.open:
                self._idle.set()

    async def pause(self):
        """Begin no more calls; return when those under way have their answers."""
        self._resumed = anyio.Event()
        if self.open:
            self._idle = anyio.Event()
            await self._idle.wait()

    def resume(self):
        """Begin calls again."""
        self._resumed.set()

    async def stream(self):
        """Play ping-pong on one stream, however long it takes."""
        async with self._request("Chat", Cardinality.STREAM_STREAM) as stream:
            while not self.over:
                await stream.send_message(b"ping")
                assert await stream.recv_message() == b"ping"
            await stream.end()


async def test_grpcio_server_stops_under_our_load():
    """Our calls in flight end with OK, and those that come later find the next server on the same port.

    A call that reaches grpcio's server after its ``stop()`` and before its client has heard of that is answered with
    CANCELLED, whoever the client is; so the load holds its breath in between, with calls and streams open.
    """
    first = CountingThere(Tally(Signal(), enough=BEFORE, held=HELD))
    second = CountingThere(Tally(Signal(), enough=AFTER))
    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.05))
    async with grpcio_server(first) as (old, target), Channel(target, codec=RawCodec(), settings=settings) as channel:
        load = Load(channel)
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(HELD):
                    tasks.start_soon(load.call, b"hold")
                    tasks.start_soon(load.stream)
                for _ in range(10):
                    tasks.start_soon(load.calls)
                await first.tally.reached.wait()
                await load.pause()
                async with grpcio_server(second, address=target):
                    stopped = old.stop(15)
                    await channel.wait_for_state_change(Connectivity.READY)
                    load.resume()
                    await second.tally.reached.wait()
                    first.go.set()
                    load.over = True
                    await in_thread(stopped.wait)
                    await load.pause()
        finally:
            first.go.set()
