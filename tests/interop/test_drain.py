"""A server goes, another one takes over, and not one call of a busy client fails."""

from __future__ import annotations

import threading

import anyio
import anyio.lowlevel
import pytest
from grpclib.const import Cardinality

from echo import Echo, RawCodec
from grpcio_peer import GrpcioEcho, grpcio_client, grpcio_server, in_thread
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, Connectivity
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server

pytestmark = pytest.mark.anyio

BEFORE, AFTER = 200, 200
"""Calls that the first server answers before it goes, and the second one after it came."""


async def until(condition):
    """Return when ``condition()`` holds, giving other tasks their turns."""
    while not condition():
        await anyio.lowlevel.checkpoint()


async def listen_again(server, address):
    """Listen on an address that another server is just giving up."""
    while True:
        try:
            return await server.listen(address)
        except ConfigurationError:
            await anyio.lowlevel.checkpoint()


class Counting(Echo):
    """Counts its calls; the request ``hold`` is answered when ``go`` is set."""

    def __init__(self):
        self.calls = self.held = 0
        self.go = anyio.Event()

    async def unary(self, request):
        self.calls += 1
        if request == b"hold":
            self.held += 1
            await self.go.wait()
        return request


async def test_our_server_drains_under_the_load_of_grpcio():
    """Calls in flight end with OK, and clients that come back find the next server on the same address."""
    first, second = Counting(), Counting()
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
            held = [stub.unary.future(b"hold", timeout=10) for _ in range(10)]
            for load, client in ((calls, stub), (calls, stub), (calls, other), (streams, other)):
                tasks.start_soon(in_thread, load, client)
            await until(lambda: first.calls > BEFORE and first.held == len(held))
            tasks.start_soon(old.drain, 15)
            assert await listen_again(new, target) == [target]
            await until(lambda: second.calls > AFTER)
            first.go.set()
            for future in held:
                assert await in_thread(future.result) == b"hold"
            await old.wait_closed()
            stop.set()


class CountingThere(GrpcioEcho):
    """Counts its calls; the request ``hold`` is answered when ``go`` is set."""

    def __init__(self):
        self.calls = self.held = 0
        self.go = threading.Event()

    def unary(self, request, context):
        """Answer with the request."""
        self.calls += 1
        if request == b"hold":
            self.held += 1
            self.go.wait(15)
        return request


class Load:
    """Keeps a channel busy until ``over``; begins no call while ``paused``."""

    def __init__(self, channel):
        self.over = self.paused = False
        self.open = 0
        self._channel = channel

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
            if self.paused:
                await anyio.lowlevel.checkpoint()
                continue
            self.open += 1
            await self.call(b"%d" % self.open)
            self.open -= 1

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
    first, second = CountingThere(), CountingThere()
    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.05))
    async with grpcio_server(first) as (old, target), Channel(target, codec=RawCodec(), settings=settings) as channel:
        load = Load(channel)
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(load.call, b"hold")
                    tasks.start_soon(load.stream)
                for _ in range(10):
                    tasks.start_soon(load.calls)
                await until(lambda: first.calls > BEFORE and first.held == 5)
                load.paused = True
                await until(lambda: not load.open)
                async with grpcio_server(second, address=target):
                    stopped = old.stop(15)
                    await until(lambda: channel.state is not Connectivity.READY)
                    load.paused = False
                    await until(lambda: second.calls > AFTER)
                    first.go.set()
                    load.over = True
                    await in_thread(stopped.wait)
                    await until(lambda: not load.open)
        finally:
            first.go.set()
