"""A channel to services in the same process: what goes in, what comes out, and how it ends."""

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from checkpoints import at_every_checkpoint
from echo import Echo, EchoStub, RawCodec
from orbit_net.client import ChannelSettings
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.health import GrpcHealthService, HealthRegistry
from orbit_net.proto.grpc.health.v1 import HealthCheckRequest
from orbit_net.proto.grpc.health.v1.services import HealthStub
from orbit_net.proto.grpc.reflection.v1 import ServerReflectionRequest
from orbit_net.proto.grpc.reflection.v1.services import ServerReflectionStub
from orbit_net.reflection import Reflection
from orbit_net.server import ServerSettings, current_call
from orbit_net.testing import ChannelFor, FaultyStream, Pause
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio


class Parrot(Echo):
    """Tells of its call."""

    async def unary(self, request):
        if request == b"fail":
            raise GRPCError(Status.DATA_LOSS, "lost", {"at": 7})
        return str(current_call().peer).encode()


async def test_four_kinds():
    """All kinds of call reach the services."""
    async with ChannelFor([Echo()], RawCodec()) as channel:
        stub = EchoStub(channel)
        assert await stub.unary(b"x") == b"x"
        assert [reply async for reply in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2"]) == b"3"
        async with stub.chat() as chat:
            await chat.send_message(b"y")
            assert await chat.recv_message() == b"y"
            await chat.end()


async def test_several_services_with_the_usual_codec():
    """Without a codec, messages are those of generated code."""
    async with ChannelFor([GrpcHealthService(HealthRegistry())]) as channel:
        reply = await HealthStub(channel).check(HealthCheckRequest())
        assert reply.status == 1


async def test_both_sides_have_the_details_codec():
    """Details of a status are encoded by the server and decoded by the channel."""

    class Details:
        def encode(self, status, message, details):
            return repr(details).encode()

        def decode(self, status, message, data):
            return eval(data)

    async with ChannelFor([Parrot()], RawCodec(), Details()) as channel:
        assert await EchoStub(channel).unary(b"") == b"local"
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).unary(b"fail")
        assert (caught.value.status, caught.value.details) == (Status.DATA_LOSS, {"at": 7})


async def test_settings_and_interceptors_of_both_sides():
    """Each side has its own settings and interceptors."""
    seen = []

    def note(side):
        async def interceptor(call, go_on):
            seen.append((side, call.method))
            await go_on(call)

        return interceptor

    site = ChannelFor(
        [Echo()],
        RawCodec(),
        settings=ChannelSettings(max_receive_message=10),
        interceptors=[note("client")],
        server_settings=ServerSettings(max_receive_message=20),
        server_interceptors=[note("server")],
    )
    async with site as channel:
        stub = EchoStub(channel)
        for size, allowed in ((10, True), (15, False), (25, False)):
            if allowed:
                await stub.unary(b"x" * size)
                continue
            with pytest.raises(RpcError) as caught:
                await stub.unary(b"x" * size)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert site.connector.connects == 1
        assert repr(site.server) in repr(site)
    assert seen[:2] == [("client", "/test.Echo/Unary"), ("server", "/test.Echo/Unary")]


async def test_exceptions_pass_as_they_are():
    """What the block raises is not wrapped, and both sides are closed."""
    site = ChannelFor([Echo()], RawCodec())
    with pytest.raises(ZeroDivisionError):
        async with site as channel:
            await EchoStub(channel).unary(b"x")
            raise ZeroDivisionError
    assert site.server.connections == channel.subchannel.connections == ()


async def test_calls_end_with_the_block():
    """A call that is open when the block ends fails, and its handler is cancelled; nothing waits for it."""
    begun, cancelled = anyio.Event(), anyio.Event()

    class Patient(Echo):
        async def chat(self, stream):
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    with anyio.fail_after(10):
        async with ChannelFor([Patient()], RawCodec()) as channel:
            call = EchoStub(channel).chat()
            await call.__aenter__()
            await call.send_request()
            await begun.wait()
        assert cancelled.is_set()
        assert channel.state.value == "shutdown"
        with pytest.raises(RpcError) as caught:
            await call.recv_message()
        assert caught.value.status is Status.UNAVAILABLE
        await call.__aexit__(None, None, None)


async def test_a_line_that_stands_still_does_not_hold_up_the_end():
    """Leaving takes seconds at most when nothing passes any more."""
    gate = anyio.Event()

    def wrap(stream):
        return FaultyStream(stream, send=[Pause(60, until=gate)], receive=[Pause(60, until=gate)])

    with anyio.fail_after(15):
        async with ChannelFor([Echo()], RawCodec(), wrap=wrap) as channel:
            with pytest.raises(RpcError):
                await EchoStub(channel).unary(b"x", timeout=0.05)


async def test_it_is_entered_once():
    """A second block needs a second one."""
    site = ChannelFor([Echo()], RawCodec())
    async with site:
        pass
    with pytest.raises(ConfigurationError, match="entered once"):
        async with site:
            pass


async def test_cancelled_at_every_checkpoint():
    """Wherever it is cancelled, nothing is left of either side."""

    async def scenario(knife):
        site = ChannelFor([Echo()], RawCodec())

        async def work():
            async with site as channel:
                assert await EchoStub(channel).unary(b"x") == b"x"

        await knife(work)
        assert site.server.connections == ()

    with anyio.fail_after(18):
        await at_every_checkpoint(scenario, least=3)


async def test_reflection_is_cancelled_at_every_checkpoint():
    """A reflection call that is cancelled anywhere leaves the connection to the next one, which is answered."""
    services = [GrpcHealthService(HealthRegistry())]
    question = ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health")

    async def scenario(knife):
        async def ask():
            async with stub.server_reflection_info() as stream:
                for _ in range(2):
                    await stream.send_message(question)
                    answer = await stream.recv_message()
                await stream.end()
                assert await stream.recv_message() is None
                return answer

        await knife(ask)
        answer = await ask()
        assert len(answer.file_descriptor_response.file_descriptor_proto) == 1
        await assert_no_leaks(site.server, channel)

    site = ChannelFor([*services, Reflection(services)])
    with anyio.fail_after(18):
        async with site as channel:
            stub = ServerReflectionStub(channel)
            await at_every_checkpoint(scenario, least=3)
            assert site.connector.connects == 1
