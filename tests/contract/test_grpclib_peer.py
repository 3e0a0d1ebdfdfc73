"""grpclib's own client against our server, and our client against grpclib's own server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio
import anyio.from_thread
import anyio.lowlevel
import grpclib
import grpclib.client
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpclib.const import Status
from grpclib.encoding.proto import ProtoStatusDetailsCodec

from grpclib_peer import grpclib_server, in_thread
from orbit_net.client import Channel
from orbit_net.server import Server, ServerSettings
from patience import until_begun

pytestmark = pytest.mark.anyio

DETAIL = ErrorInfo(reason="TEST", domain="relay")
DETAILS = ProtoStatusDetailsCodec()
"""grpclib's own codec, which it uses where nothing else is said."""
LARGE = 1_000_000
"""Bytes of a message that needs many frames, and window updates on both sides."""


def service(plugin, on_wait=None, on_cancel=None):
    """Return a service that runs on both servers. ``Chat`` at the note ``wait`` answers and waits to be cancelled."""

    class Relay(plugin.RelayBase):
        async def Say(self, stream):  # noqa: N802
            note = await stream.recv_message()
            if note.text == "fail":
                raise grpclib.GRPCError(Status.FAILED_PRECONDITION, "nö: 100 %\n", [DETAIL])
            await stream.send_initial_metadata(metadata={"initial-bin": stream.metadata.get("key-bin", b"")})
            await stream.send_message(plugin.Reply(text=note.text, number=len(stream.metadata.getall("key", []))))
            await stream.send_trailing_metadata(metadata=[("trailing", "one"), ("trailing", "two")])

        async def Count(self, stream):  # noqa: N802
            note = await stream.recv_message()
            for number in range(note.number):
                await stream.send_message(plugin.Reply(number=number))

        async def Sum(self, stream):  # noqa: N802
            await stream.send_message(plugin.Reply(number=sum([note.number async for note in stream])))

        async def Chat(self, stream):  # noqa: N802
            async for note in stream:
                if note.text == "wait":
                    await stream.send_message(plugin.Reply())
                    await self._wait()
                await stream.send_message(plugin.Reply(number=note.number + 1))

        async def _wait(self):
            on_wait()
            try:
                await anyio.sleep_forever()
            finally:
                on_cancel()

    return Relay()


@asynccontextmanager
async def our_server(plugin, *, settings=None, **hooks):
    """Give the host and the port of our server."""
    async with Server([service(plugin, **hooks)], status_details_codec=DETAILS, settings=settings) as server:
        [target] = await server.listen("127.0.0.1:0")
        host, _, port = target.rpartition(":")
        yield host, int(port)


async def four_kinds(plugin, stub):
    """Call each method, on whichever client ``stub`` stands; grpclib's stubs look the same on both."""
    assert (await stub.Say(plugin.Note(text="ünï"))).text == "ünï"
    assert (await stub.Say(plugin.Note())).text == ""
    assert [reply.number for reply in await stub.Count(plugin.Note(number=300))] == list(range(300))
    assert (await stub.Sum([plugin.Note(number=number) for number in range(100)])).number == 4950
    assert (await stub.Sum([])).number == 0
    async with stub.Chat.open() as stream:
        number = 0
        while number < 50:
            await stream.send_message(plugin.Note(number=number))
            number = (await stream.recv_message()).number
        await stream.end()
        assert await stream.recv_message() is None


async def metadata(plugin, stub):
    """Send and receive metadata of all sorts."""
    async with stub.Say.open(timeout=30, metadata=[("key", "one"), ("key", "two"), ("key-bin", b"\0\xff")]) as stream:
        await stream.send_message(plugin.Note(), end=True)
        assert (await stream.recv_message()).number == 2
        await stream.recv_trailing_metadata()
        assert stream.initial_metadata["initial-bin"] == b"\0\xff"
        assert stream.trailing_metadata.getall("trailing") == ["one", "two"]


async def error(plugin, stub):
    """Provoke an error and look at all of it."""
    with pytest.raises(grpclib.GRPCError) as caught:
        await stub.Say(plugin.Note(text="fail"))
    assert (caught.value.status, caught.value.message) == (Status.FAILED_PRECONDITION, "nö: 100 %\n")
    assert caught.value.details == [DETAIL]


async def large(plugin, stub):
    """Exchange a message that does not fit a window."""
    assert (await stub.Say(plugin.Note(text="x" * LARGE))).text == "x" * LARGE


SCRIPTS = [four_kinds, metadata, error, large]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_grpclib_client(plugin, script):
    """grpclib's client gets from our server what it expects."""

    async def run(host, port):
        async with grpclib.client.Channel(host, port) as channel:
            await script(plugin, plugin.RelayStub(channel))

    async with our_server(plugin) as (host, port):
        await in_thread(run, host, port)


@pytest.mark.parametrize("script", SCRIPTS)
async def test_grpclib_server(plugin, script):
    """Our client gets from grpclib's server what it expects."""
    with grpclib_server([service(plugin)]) as target:
        async with Channel(target, status_details_codec=DETAILS) as channel:
            await script(plugin, plugin.RelayStub(channel))


async def test_many_calls_of_grpclib_client(plugin):
    """Calls of grpclib's client beyond the concurrent streams that we allow wait and succeed."""

    async def run(host, port):
        async with grpclib.client.Channel(host, port) as channel:
            stub = plugin.RelayStub(channel)
            await stub.Say(plugin.Note())  # grpclib does not wait for SETTINGS: they have come now
            replies = await asyncio.gather(*(stub.Say(plugin.Note(text=str(number))) for number in range(200)))
            assert [reply.text for reply in replies] == [str(number) for number in range(200)]

    async with our_server(plugin, settings=ServerSettings(max_concurrent_streams=10)) as (host, port):
        await in_thread(run, host, port)


async def test_many_calls_to_grpclib_server(plugin):
    """Our calls share one connection to grpclib's server."""
    with grpclib_server([service(plugin)]) as target:
        async with Channel(target, status_details_codec=DETAILS) as channel, anyio.create_task_group() as tasks:
            stub = plugin.RelayStub(channel)

            async def one(number):
                assert (await stub.Say(plugin.Note(text=str(number)))).text == str(number)

            for number in range(200):
                tasks.start_soon(one, number)


async def test_deadline_of_grpclib_client(plugin):
    """The deadline of grpclib's client ends the call there, and cancels our handler."""
    waiting, cancelled = anyio.Event(), anyio.Event()

    async def run(host, port, timeout):
        async with grpclib.client.Channel(host, port) as channel:
            with pytest.raises(asyncio.TimeoutError):
                await plugin.RelayStub(channel).Chat([plugin.Note(text="wait")], timeout=timeout)

    async with our_server(plugin, on_wait=waiting.set, on_cancel=cancelled.set) as (host, port):
        await until_begun(lambda timeout: in_thread(run, host, port, timeout), waiting.is_set)
        await cancelled.wait()


async def test_cancellation_by_grpclib_client(plugin):
    """A call cancelled by grpclib's client cancels our handler."""
    cancelled = anyio.Event()

    async def run(host, port):
        async with grpclib.client.Channel(host, port) as channel:
            async with plugin.RelayStub(channel).Chat.open() as stream:
                await stream.send_message(plugin.Note(text="wait"))
                await stream.recv_message()
                await stream.cancel()
            await plugin.RelayStub(channel).Say(plugin.Note())

    async with our_server(plugin, on_wait=lambda: None, on_cancel=cancelled.set) as (host, port):
        await in_thread(run, host, port)
        await cancelled.wait()


class _Hook:
    """Something that a handler in another thread calls, and a test here waits for."""

    def __init__(self):
        self._event = anyio.Event()
        self._portal = anyio.lowlevel.current_token()

    def __call__(self):
        anyio.from_thread.run_sync(self._event.set, token=self._portal)

    async def wait(self):
        """Wait until it was called."""
        await self._event.wait()

    def is_set(self):
        """Whether it was called."""
        return self._event.is_set()


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_grpclib_handler_is_cancelled(plugin, how):
    """Our deadline and our cancel() both cancel the handler of grpclib's server."""
    waiting, cancelled = _Hook(), _Hook()
    with grpclib_server([service(plugin, waiting, cancelled)]) as target:
        async with Channel(target) as channel:
            stub = plugin.RelayStub(channel)
            if how == "timeout":

                async def call(timeout):
                    with pytest.raises(grpclib.GRPCError) as caught:
                        await stub.Chat([plugin.Note(text="wait")], timeout=timeout)
                    assert caught.value.status is Status.DEADLINE_EXCEEDED

                await until_begun(call, waiting.is_set)
            else:
                async with stub.Chat.open() as stream:
                    await stream.send_message(plugin.Note(text="wait"))
                    await stream.recv_message()
                    await stream.cancel()
            await cancelled.wait()
            assert (await stub.Say(plugin.Note(text="a"))).text == "a"


async def test_unknown_method(plugin):
    """A method that the other side does not have is UNIMPLEMENTED, in both directions."""

    async def run(host, port):
        async with grpclib.client.Channel(host, port) as channel:
            await refused(channel)

    async def refused(channel):
        method = grpclib.client.UnaryUnaryMethod(channel, "/relay.v1.Relay/No", plugin.Note, plugin.Reply)
        with pytest.raises(grpclib.GRPCError) as caught:
            await method(plugin.Note())
        assert caught.value.status is Status.UNIMPLEMENTED

    async with our_server(plugin) as (host, port):
        await in_thread(run, host, port)
    with grpclib_server([service(plugin)]) as target:
        async with Channel(target, status_details_codec=DETAILS) as channel:
            await refused(channel)
