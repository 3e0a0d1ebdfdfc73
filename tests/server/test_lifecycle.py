"""The life of a server: entering, listening, draining, closing, signals, and accepting under trouble."""

import errno
import logging
import os
import signal
import socket
import subprocess
import sys

import anyio
import anyio.lowlevel
import pytest

from echo import Echo, EchoStub, RawCodec
from memory import MemoryConnector, in_memory
from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import Server, stop_on_signals
from orbit_net.status import Status
from settle import assert_no_leaks, connections_of, turns, until

pytestmark = pytest.mark.anyio


class Gated(Echo):
    """Unary calls wait for ``gate``."""

    def __init__(self):
        self.gate = anyio.Event()
        self.begun = 0
        self.cancelled = 0

    async def unary(self, request):
        self.begun += 1
        try:
            await self.gate.wait()
        except BaseException:
            self.cancelled += 1
            raise
        return request


async def test_using_a_server_outside_its_block():
    """Before and twice: ConfigurationError that says what to do. Closing it before or after is harmless."""
    server = Server([Echo()])
    server.close()
    server = Server([Echo()])
    with pytest.raises(ConfigurationError, match=r"use it inside 'async with Server"):
        await server.listen("127.0.0.1:0")
    async with server:
        with pytest.raises(ConfigurationError, match="entered once"):
            await server.__aenter__()
    with pytest.raises(ConfigurationError, match="entered once"):
        await server.__aenter__()
    server.close()


def test_services_are_checked():
    """Something that is no service, and two services with one path, are refused when the server is made."""
    with pytest.raises(ConfigurationError, match="it has no __mapping__"):
        Server([object()])
    with pytest.raises(ConfigurationError, match=r"two services answer /test.Echo/Unary"):
        Server([Echo(), Echo()])
    Server([])


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "https://x:1", ""])
async def test_bad_addresses(address):
    """ConfigurationError that quotes the address."""
    async with Server([Echo()]) as server:
        with pytest.raises(ConfigurationError) as raised:
            await server.listen(address)
        assert repr(address) in str(raised.value)


async def test_addresses_that_cannot_be_bound(tmp_path):
    """ConfigurationError with the system's reason: a port in use, a foreign host, a file in the way, no directory."""
    plain = tmp_path / "file"
    plain.write_text("not a socket")
    async with Server([Echo()]) as server:
        [used] = await server.listen("127.0.0.1:0")
        for address in (used, "192.0.2.1:0", f"unix:{plain}", f"unix:{tmp_path}/none/s"):
            with pytest.raises(ConfigurationError, match=f"cannot listen on {address}: "):
                await server.listen(address)
        assert plain.read_text() == "not a socket"


async def test_a_drain_under_load():
    """Clients that never stop calling see no failed call while their server drains and another takes over."""
    async with (
        Server([Echo()], codec=RawCodec()) as old,
        Server([Echo()], codec=RawCodec()) as new,
        anyio.create_task_group() as tasks,
    ):
        networks = [MemoryConnector(tasks, old.serve_stream), MemoryConnector(tasks, new.serve_stream)]
        current = [networks[0]]

        async def connector():
            return await current[0]()

        async with Channel("memory:1", codec=RawCodec(), connector=connector) as channel:
            stub = EchoStub(channel)
            done, stop = [0], [False]

            async def load():
                while not stop[0]:
                    assert await stub.unary(b"x") == b"x"
                    assert [m async for m in stub.count(b"3")] == [b"0", b"1", b"2"]
                    done[0] += 1

            async with anyio.create_task_group() as load_tasks:
                for _ in range(20):
                    load_tasks.start_soon(load)
                await until(lambda: done[0] > 50)
                current[0] = networks[1]
                await old.drain(5)
                assert not connections_of(old)
                before = done[0]
                await until(lambda: done[0] > before + 50)
                stop[0] = True
            assert [network.connects for network in networks] == [1, 1]
            await assert_no_leaks(old, new, channel)


async def test_a_drain_waits_for_open_calls():
    """New connections are refused, calls that are open end as they would, then drain returns."""
    service = Gated()
    async with in_memory(service) as (server, channel, stub):
        replies = []

        async def call():
            replies.append(await stub.unary(b"x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: service.begun)
            tasks.start_soon(server.drain)
            await turns(50)
            assert connections_of(server)
            assert repr(server).startswith("<Server draining")
            with pytest.raises(RpcError):
                await stub.unary(b"new")
            service.gate.set()
        assert replies == [b"x"]
        assert not connections_of(server)
        await server.wait_closed()
        await assert_no_leaks(server, channel)


async def test_the_grace_period():
    """What is still open after the grace period fails with UNAVAILABLE, and its handler is cancelled."""
    service = Gated()
    async with in_memory(service) as (server, channel, stub):

        async def call():
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: service.begun)
            await server.drain(0.02)
            assert service.cancelled == 1
        await assert_no_leaks(server, channel)


async def test_a_drain_without_connections():
    """Returns at once, and twice does no harm."""
    async with Server([Echo()]) as server:
        await server.listen("127.0.0.1:0")
        with anyio.fail_after(10):
            await server.drain()
            await server.drain()
            await server.wait_closed()


async def test_nothing_listens_after_close():
    """The port is free again once the server has closed, inside the block."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen("127.0.0.1:0")
        server.close()
        port = int(target.rpartition(":")[2])

        def refused():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

        await until(refused)


async def test_serve_returns_when_drained():
    """serve() ends when the server has drained, and gives the addresses to whoever started it."""
    async with Server([Echo()], codec=RawCodec()) as server, anyio.create_task_group() as tasks:
        [target] = await tasks.start(server.serve, "127.0.0.1:0")
        async with Channel(target, codec=RawCodec()) as channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
        await server.drain(1)


async def test_the_body_s_exception():
    """What the body raises comes out as itself, not in a group, with a connection open."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as raised:
        async with Server([Echo()], codec=RawCodec()) as server:
            [target] = await server.listen("127.0.0.1:0")
            async with Channel(target, codec=RawCodec()) as channel:
                await EchoStub(channel).unary(b"x")
                raise error
    assert raised.value is error


async def test_a_signal():
    """SIGTERM drains: open calls end, then the server is closed and the helper returns."""
    service = Gated()
    async with in_memory(service) as (server, _, stub):
        async with anyio.create_task_group() as tasks:
            replies = []

            async def call():
                replies.append(await stub.unary(b"x"))

            async def stop():
                await stop_on_signals(server, grace=5, signals=(signal.SIGUSR1,))
                replies.append("stopped")

            tasks.start_soon(stop)
            tasks.start_soon(call)
            await until(lambda: service.begun)
            await turns(5)
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: server._draining)
            service.gate.set()
        assert replies == [b"x", "stopped"]
        await server.wait_closed()


_PROGRAM = """
import sys
import anyio
import anyio.lowlevel
from orbit_net.server import Server, stop_on_signals

async def main():
    async with Server([]) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signals, server)
        print(*await tasks.start(server.serve, "127.0.0.1:0"), flush=True)
    print("done", flush=True)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop(number, anyio_backend):
    """A process with stop_on_signals ends by itself, with exit code 0, on SIGTERM and on SIGINT."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, anyio_backend], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline().startswith("127.0.0.1:")
            process.send_signal(number)
            assert process.stdout.read() == "done\n"
            assert process.wait(10) == 0
        finally:
            process.kill()


class Troubled:
    """A listener whose first accepts fail as when the system has no more file descriptors."""

    def __init__(self, streams):
        self.failures = 2
        self.streams = streams
        self.closed = anyio.Event()

    async def accept(self):
        await anyio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        if self.streams:
            return self.streams.pop()
        await self.closed.wait()
        raise anyio.ClosedResourceError

    async def aclose(self):
        self.closed.set()


async def test_accept_errors_are_survived(caplog, monkeypatch):
    """EMFILE is logged, accepting pauses and goes on."""
    import importlib

    from memory import memory_pair

    module = importlib.import_module("orbit_net.server.server")
    monkeypatch.setattr("orbit_net.server.acceptor._PAUSE", 0.01)
    ours, theirs = memory_pair()

    async def connector():
        return ours

    async with Server([Echo()], codec=RawCodec()) as server:
        listener = Troubled([theirs])
        with caplog.at_level(logging.WARNING, "orbit_net.server"):

            async def listen(address, *, backlog):
                return [listener], ["memory:1"]

            monkeypatch.setattr(module, "listen", listen)
            assert await server.listen("memory:1") == ["memory:1"]
            async with Channel("memory:1", codec=RawCodec(), connector=connector) as channel:
                assert await EchoStub(channel).unary(b"x") == b"x"
        assert caplog.text.count("Too many open files") == 2
    assert listener.closed.is_set()


async def test_a_client_that_is_gone_before_it_is_accepted():
    """A connection that is reset while it waits to be accepted is dropped, and the next one is served."""
    async with Server([Echo()], codec=RawCodec()) as server:
        [target] = await server.listen("127.0.0.1:0")
        host, _, port = target.rpartition(":")
        for _ in range(5):
            with socket.create_connection((host, int(port))) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        async with Channel(target, codec=RawCodec()) as channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
        await until(lambda: not connections_of(server))


async def test_serving_a_stream_when_closed():
    """A byte stream handed to a server that is closed or drains is closed at once."""
    async with in_memory() as (server, _, stub):
        server.close()
        with pytest.raises(RpcError, match="no gRPC connection") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
