"""Metadata both ways, and what the client writes into the headers."""

import pytest
from hyperframe.frame import HeadersFrame

from echo import Echo
from memory import in_memory
from orbit_net.client import ChannelSettings
from orbit_net.errors import LocalProtocolError, RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from rawpeer import scripted
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio

GIVEN = [("x-key", "1"), ("x-bytes-bin", b"\0\xff"), ("x-key", " 2 "), ("x-empty", ""), ("x-bytes-bin", b"")]
RECEIVED = [("x-key", "1"), ("x-bytes-bin", b"\0\xff"), ("x-key", "2"), ("x-empty", ""), ("x-bytes-bin", b"")]


class Mirror(Echo):
    """Sends the metadata that it got back, as initial and as trailing metadata."""

    async def unary(self, request):
        call = current_call()
        await call.send_initial_metadata(metadata=call.metadata)
        call.set_trailing_metadata(list(call.metadata.items()))
        return request

    async def chat(self, stream):
        await stream.send_initial_metadata(metadata=GIVEN)
        await stream.recv_message()
        await stream.send_trailing_metadata(
            status=Status.NOT_FOUND, status_message="no", status_details=b"\1\2", metadata={"x-last": "yes"}
        )


async def test_there_and_back():
    """Repeated keys, binary and empty values arrive in order, in headers and trailers alike."""
    async with in_memory(Mirror()) as (_, channel, _):
        call = channel.request("/test.Echo/Unary", *kind("UNARY_UNARY"), metadata=GIVEN)
        async with call:
            assert call.initial_metadata is None
            assert call.trailing_metadata is None
            await call.send_message(b"x")
            await call.recv_initial_metadata()
            assert list(call.initial_metadata.items()) == RECEIVED
            assert await call.recv_message() == b"x"
            await call.recv_trailing_metadata()
            assert list(call.trailing_metadata.items()) == RECEIVED


def kind(name):
    """Return the arguments of :meth:`Channel.request` for raw bytes."""
    from grpclib.const import Cardinality

    return Cardinality[name], bytes, bytes


async def test_metadata_of_a_failed_call():
    """The error carries the trailing metadata and the details; the call keeps both metadata."""
    async with in_memory(Mirror()) as (_, _, stub):
        with pytest.raises(RpcError) as raised:
            async with stub.chat() as call:
                await call.send_message(b"x")
                await call.recv_message()
        error = raised.value
        assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "no", b"\1\2")
        assert dict(error.trailing_metadata) == {"x-last": "yes"}
        assert str(error) == "NOT_FOUND: no"
        assert list(call.initial_metadata.items()) == RECEIVED
        assert dict(call.trailing_metadata) == {"x-last": "yes"}


async def test_a_trailers_only_answer_has_empty_initial_metadata():
    """Initial metadata is empty, not None, when the call ended at once."""
    async with in_memory() as (_, channel, _):
        call = channel.request("/test.Echo/None", *kind("UNARY_UNARY"))
        with pytest.raises(RpcError) as raised:
            async with call:
                await call.send_message(b"x")
                await call.recv_initial_metadata()
        assert raised.value.status is Status.UNIMPLEMENTED
        assert call.initial_metadata == {}


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"X-Upper": "1"}, "'X-Upper'"),
        ({"": "1"}, "''"),
        ({"a b": "1"}, "'a b'"),
        ({"grpc-timeout": "1S"}, "reserved"),
        ({"te": "x"}, "reserved"),
        ({"x": "a\r\nb: c"}, "printable"),
        ({"x": "é"}, "printable"),
        ({"x": 1}, "must be a str, not int"),
        ({"x": b"bytes"}, "must be a str, not bytes"),
        ({"x-bin": "text"}, "takes bytes, not str"),
        ({1: "x"}, "key 1"),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_once(metadata, named):
    """A bad pair raises LocalProtocolError when it is given, on both sides, and the call can be made without it."""

    class Setting(Echo):
        async def unary(self, request):
            with pytest.raises(LocalProtocolError, match=named):
                await current_call().send_initial_metadata(metadata=metadata)
            with pytest.raises(LocalProtocolError, match=named):
                current_call().set_trailing_metadata(metadata)
            return request

    async with in_memory(Setting()) as (_, channel, stub):
        with pytest.raises(LocalProtocolError, match=named):
            channel.request("/test.Echo/Unary", *kind("UNARY_UNARY"), metadata=metadata)
        assert await stub.unary(b"x") == b"x"


async def test_the_order_and_the_constants_of_request_headers():
    """Pseudo headers, grpc-timeout, the definition of the call, then metadata (PROTOCOL-HTTP2 "Requests")."""
    seen = []

    async def script(peer):
        await peer.accept()
        while True:
            frame = await peer.read(HeadersFrame)
            seen.append(frame.fields)
            await peer.respond(frame.stream_id, b"")

    async with scripted(script) as (_, stub):
        await stub.unary(b"", timeout=5, metadata={"x-key": "1"})
    names = [name for name, _ in seen[0]]
    assert names == [
        ":method",
        ":scheme",
        ":path",
        ":authority",
        "grpc-timeout",
        "te",
        "content-type",
        "grpc-accept-encoding",
        "user-agent",
        "x-key",
    ]
    fields = dict(seen[0])
    assert fields[":method"] == "POST"
    assert fields[":scheme"] == "http"
    assert fields[":path"] == "/test.Echo/Unary"
    assert fields[":authority"] == "memory:1"
    assert fields["te"] == "trailers"
    assert fields["content-type"] == "application/grpc"
    assert fields["grpc-timeout"].endswith("m")
    assert 4_000 < int(fields["grpc-timeout"][:-1]) <= 5_000


async def test_authority_and_user_agent_can_be_set():
    """The settings replace both."""
    seen = []

    async def script(peer):
        await peer.accept()
        stream_id, fields, _ = await peer.request()
        seen.append(fields)
        await peer.respond(stream_id, b"")

    settings = ChannelSettings(authority="orbit.test", user_agent="tester/1")
    async with scripted(script, settings=settings) as (_, stub):
        await stub.unary(b"")
    assert (seen[0][":authority"], seen[0]["user-agent"]) == ("orbit.test", "tester/1")


@pytest.mark.parametrize("path", ["Unary", "/test.Echo/U nary", "/test.Echo/Ünary", "", "/a\n/b"])
async def test_bad_method_paths(path):
    """A path that is not of the form /package.Service/Method is refused by name."""
    async with in_memory() as (_, channel, _):
        with pytest.raises(LocalProtocolError) as raised:
            channel.request(path, *kind("UNARY_UNARY"))
        assert repr(path) in str(raised.value)


async def test_broken_base64_from_a_server():
    """INTERNAL for the call that reads it; the connection goes on."""

    async def script(peer):
        await peer.accept()
        while True:
            stream_id, fields, _ = await peer.request()
            extra = [("x-bin", "*")] if "x-break" in fields else []
            await peer.respond(
                stream_id, b"", headers=[(":status", "200"), ("content-type", "application/grpc"), *extra]
            )

    async with scripted(script) as (channel, stub):
        call = channel.request("/test.Echo/Unary", *kind("UNARY_UNARY"), metadata={"x-break": "1"})
        with pytest.raises(RpcError) as raised:
            async with call:
                await call.send_message(b"x")
                await call.recv_initial_metadata()
                assert call.initial_metadata
        assert raised.value.status is Status.INTERNAL
        assert await stub.unary(b"") == b""
        assert channel.subchannel._connector.connects == 1


async def test_more_metadata_than_the_server_accepts():
    """RESOURCE_EXHAUSTED without sending, once the server has said what it accepts; the connection goes on."""
    big = {"x-big": "x" * 17_000}
    async with in_memory() as (server, channel, stub):
        await stub.unary(b"x")
        for call in (stub.unary(b"x", metadata=big), stub.sum([], metadata=big)):
            with pytest.raises(RpcError, match="bytes of headers; the peer accepts 16384") as raised:
                await call
            assert raised.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"x") == b"x"
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(server, channel)


async def test_more_metadata_than_the_client_accepts(caplog):
    """A handler that answers with too much metadata: its call fails, the log says why, the connection goes on."""

    class Verbose(Echo):
        async def unary(self, request):
            if request == b"headers":
                await current_call().send_initial_metadata(metadata={"x-big": "x" * 17_000})
            if request == b"trailers":
                current_call().set_trailing_metadata({"x-big": "x" * 17_000})
            return request

    async with in_memory(Verbose()) as (server, channel, stub):
        await stub.unary(b"x")
        for part, status in ((b"headers", Status.UNKNOWN), (b"trailers", Status.INTERNAL)):
            with pytest.raises(RpcError) as raised:
                await stub.unary(part)
            assert raised.value.status is status
            assert "bytes of headers; the peer accepts 16384" in caplog.text
            caplog.clear()
        assert await stub.unary(b"x") == b"x"
        assert channel.subchannel._connector.connects == 1
        await assert_no_leaks(server, channel)
