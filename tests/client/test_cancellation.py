"""Cancellation both ways: of a call by its caller, of a handler by its client, of calls by the end of a side."""

import anyio
import pytest
from grpclib.exceptions import GRPCError
from hyperframe.frame import RstStreamFrame

from echo import Echo
from memory import in_memory
from orbit_net.errors import LocalProtocolError, RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from patience import until_begun
from rawpeer import OK_HEADERS, message, scripted
from settle import assert_no_leaks, until

pytestmark = pytest.mark.anyio


class Endless(Echo):
    """Handlers that go on until they are cancelled; ``ended`` gets a name for each."""

    def __init__(self):
        self.begun = []
        self.ended = []

    async def forever(self, name):
        self.begun.append(name)
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.append(name)

    async def unary(self, request):
        await self.forever("unary")

    async def count(self, request):
        self.begun.append("count")
        try:
            number = 0
            while True:
                yield b"%d" % number
                number += 1
        finally:
            self.ended.append("count")

    async def sum(self, requests):
        await self.forever("sum")

    async def chat(self, stream):
        await stream.send_message(b"first")
        await self.forever("chat")


async def test_leaving_the_block_early():
    """The server's handler is cancelled, and both sides forget the call."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_message()
        await until(lambda: service.ended == ["chat"])
        await assert_no_leaks(server, channel)


async def test_leaving_the_block_by_an_exception():
    """The exception comes out as itself, and the handler is cancelled."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        with pytest.raises(KeyError):
            async with stub.chat() as call:
                await call.send_request()
                await call.recv_message()
                raise KeyError
        await until(lambda: service.ended == ["chat"])
        await assert_no_leaks(server, channel)


async def test_the_reset_that_is_sent():
    """RST_STREAM(CANCEL), once, for a call that is left, cancelled, or whose task is cancelled."""
    resets = []
    scope = anyio.CancelScope()

    async def script(peer):
        await peer.accept()
        while True:
            stream_id, _, _ = await peer.request()
            await peer.send(peer.headers(stream_id, OK_HEADERS), peer.data(stream_id, message(b"x")))
            if stream_id == 5:
                scope.cancel()
            frame = await peer.read(RstStreamFrame)
            resets.append((frame.stream_id, frame.error_code))

    async with scripted(script) as (channel, stub):
        async with stub.count(b"x") as replies:
            assert await replies.__anext__() == b"x"
        await until(lambda: resets == [(1, 8)])
        async with stub.chat() as call:
            await call.send_request()
            await call.end()
            await call.recv_message()
            await call.cancel()
            await call.cancel()
        await until(lambda: resets[1:] == [(3, 8)])
        with scope:
            await stub.unary(b"x")
        await until(lambda: resets[2:] == [(5, 8)])
        await assert_no_leaks(channel)


@pytest.mark.parametrize("kind", ["unary", "count", "sum", "chat"])
async def test_cancelling_the_task(kind):
    """A cancelled caller: the handler of every kind is cancelled."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        async with anyio.create_task_group() as tasks:

            async def call():
                if kind == "unary":
                    await stub.unary(b"x")
                elif kind == "sum":
                    await stub.sum([b"x"])
                elif kind == "count":
                    async with stub.count(b"x") as replies:
                        async for _ in replies:
                            pass
                else:
                    async with stub.chat() as stream:
                        await stream.send_request()
                        async for _ in stream:
                            pass

            tasks.start_soon(call)
            await until(lambda: service.begun)
            tasks.cancel_scope.cancel()
        await until(lambda: service.ended == [kind])
        await assert_no_leaks(server, channel)


async def test_what_a_cancelled_call_says():
    """After cancel() every operation raises CANCELLED; leaving the block does not."""
    async with in_memory(Endless()) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_message()
            await call.cancel()
            for operation in (call.recv_message, call.recv_initial_metadata, call.recv_trailing_metadata, call.end):
                with pytest.raises(RpcError) as raised:
                    await operation()
                assert raised.value.status is Status.CANCELLED
            with pytest.raises(RpcError):
                await call.send_message(b"x")
        await assert_no_leaks(server, channel)


async def test_cancel_wakes_another_task():
    """cancel() ends an operation that another task is waiting in."""
    async with in_memory(Endless()) as (server, channel, stub):
        async with stub.chat() as call, anyio.create_task_group() as tasks:
            await call.send_request()
            await call.recv_message()

            async def receive():
                with pytest.raises(RpcError) as raised:
                    await call.recv_message()
                assert raised.value.status is Status.CANCELLED

            tasks.start_soon(receive)
            await until(lambda: call._attempt.stream._waiter is not None)
            await call.cancel()
        await assert_no_leaks(server, channel)


async def test_only_one_task_may_receive():
    """A second receiver is told so, and the first goes on."""
    async with in_memory() as (_, _, stub), stub.chat() as call:
        await call.send_request()
        async with anyio.create_task_group() as tasks:

            async def receive():
                assert await call.recv_message() == b"x"

            tasks.start_soon(receive)
            await until(lambda: call._attempt.stream._waiter is not None)
            with pytest.raises(LocalProtocolError, match="already receiving"):
                await call.recv_message()
            await call.send_message(b"x")
        await call.end()


async def test_a_response_stream_that_is_left():
    """Leaving the block, aclose() and collecting the object all cancel the call."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        async with stub.count(b"x") as replies:
            async for _ in replies:
                break
        await until(lambda: len(service.ended) == 1)
        replies = stub.count(b"x")
        await replies.__anext__()
        await replies.aclose()
        await replies.aclose()
        await until(lambda: len(service.ended) == 2)
        async for _ in stub.count(b"x"):
            break
        await until(lambda: len(service.ended) == 3)
        await assert_no_leaks(server, channel)


async def test_a_call_inside_an_async_generator():
    """No cancel scope is held between two operations, so a generator may yield inside a call (PEP 789)."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):

        async def generate():
            async with stub.chat(timeout=60) as call:
                await call.send_request()
                while True:
                    yield await call.recv_message()

        generator = generate()
        with anyio.CancelScope() as outer:
            assert await generator.__anext__() == b"first"
        assert not outer.cancel_called
        with anyio.move_on_after(0.02) as scope:
            await generator.__anext__()
        assert scope.cancelled_caught
        await generator.aclose()
        await until(lambda: service.ended == ["chat"])
        await assert_no_leaks(server, channel)


async def test_the_handler_sees_cancellation_and_may_clean_up():
    """A handler's finally block runs; what it tries to send then is refused, and nothing is left."""
    seen = []

    class Cleaning(Echo):
        async def chat(self, stream):
            await stream.send_message(b"first")
            try:
                await stream.recv_message()
            finally:
                seen.append(stream.cancelled)
                with anyio.CancelScope(shield=True):
                    try:
                        await stream.send_message(b"late")
                    except GRPCError as error:
                        seen.append(type(error).__name__)

    async with in_memory(Cleaning()) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_message()
        await until(lambda: len(seen) == 2)
        assert seen == [True, "GRPCError"]
        await assert_no_leaks(server, channel)


async def test_cancellation_is_passed_on():
    """A client that cancels reaches the handler of the handler."""
    inner_service = Endless()

    class Relay(Echo):
        async def unary(self, request):
            return await inner_stub.unary(request)

    async with (
        in_memory(inner_service) as (inner, inner_channel, inner_stub),
        in_memory(Relay()) as (outer, channel, stub),
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.unary, b"x")
            await until(lambda: inner_service.begun)
            tasks.cancel_scope.cancel()
        await until(lambda: inner_service.ended)
        await assert_no_leaks(inner, inner_channel, outer, channel)


async def test_the_server_closes():
    """UNAVAILABLE for every open call, saying why, and the handlers are cancelled."""
    service = Endless()
    errors = []
    async with in_memory(service) as (server, channel, stub):

        async def call():
            with pytest.raises(RpcError) as raised:
                await stub.unary(b"x")
            errors.append(raised.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
            await until(lambda: len(service.begun) == 3)
            server.close()
        assert {error.status for error in errors} == {Status.UNAVAILABLE}
        assert {error.message for error in errors} == {"the server is shutting down"}
        await until(lambda: len(service.ended) == 3)
        await server.wait_closed()
        await assert_no_leaks(server, channel)


async def test_the_channel_closes():
    """UNAVAILABLE for open calls and for later ones."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_message()
            channel.close()
            with pytest.raises(RpcError, match="the channel was closed") as raised:
                await call.recv_message()
            assert raised.value.status is Status.UNAVAILABLE
        with pytest.raises(RpcError, match="the channel is closed") as raised:
            await stub.unary(b"x")
        assert raised.value.status is Status.UNAVAILABLE
        await until(lambda: service.ended == ["chat"])
        await assert_no_leaks(server, channel)


async def test_the_connection_breaks():
    """UNAVAILABLE for every open call; the next call connects again."""
    service = Endless()
    async with in_memory(service) as (server, channel, stub):
        async with stub.chat() as call:
            await call.send_request()
            await call.recv_message()
            await channel.subchannel._connector.links[0].aclose()
            with pytest.raises(RpcError) as raised:
                await call.recv_message()
            assert raised.value.status is Status.UNAVAILABLE
        await until(lambda: service.ended == ["chat"])
        async with stub.chat() as call:
            await call.send_request()
            assert await call.recv_message() == b"first"
        assert channel.subchannel._connector.connects == 2
        await assert_no_leaks(server, channel)


async def test_a_handler_with_tasks_of_its_own():
    """Cancelling a handler that runs a task group ends the group's tasks; no exception group gets anywhere."""
    begun, ended = [], []

    class Grouping(Echo):
        async def unary(self, request):
            async def forever():
                begun.append(current_call().method)
                try:
                    await anyio.sleep_forever()
                finally:
                    ended.append(current_call().method)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(forever)
                tasks.start_soon(forever)

    async with in_memory(Grouping()) as (server, channel, stub):

        async def call(timeout):
            with pytest.raises(RpcError):
                await stub.unary(b"x", timeout=timeout)

        await until_begun(call, lambda: begun)
        await until(lambda: len(ended) == len(begun))
        await assert_no_leaks(server, channel)
