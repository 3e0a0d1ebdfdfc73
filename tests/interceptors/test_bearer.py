"""Bearer tokens (RFC 6750): sent, verified, and shown nowhere."""

import logging
import traceback

import anyio
import pytest
from grpclib.exceptions import GRPCError

from echo import Echo, EchoStub, RawCodec
from memory import in_memory
from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError, LocalProtocolError, RpcError
from orbit_net.interceptors import BearerAuthentication, BearerToken, CallLogging, current_identity
from orbit_net.server import Server, current_call
from orbit_net.status import Status
from orbit_net.wire.metadata import encode_metadata
from rawpeer import raw_client, request_headers, scripted
from settle import assert_no_leaks, connections_of

pytestmark = pytest.mark.anyio

TOKEN = "abc.DEF-123_~+/=="


class Who(Echo):
    """Answers with the identity of the caller and the metadata that is left."""

    async def unary(self, request):
        return f"{current_identity()} {sorted(current_call().metadata)}".encode()


async def verify(token):
    """Know one token."""
    await anyio.lowlevel.checkpoint()
    return "ada" if token == TOKEN else None


def sending(token=TOKEN):
    """Return what makes a channel send a token in plain text."""
    return {"interceptors": [BearerToken(token, allow_plaintext=True)]}


async def test_a_token_is_sent_and_verified():
    """In all kinds of call; the handler learns who calls, and does not see the token."""
    service, seen = Who(), []

    class All(Who):
        async def count(self, request):
            yield await service.unary(b"")

        async def sum(self, requests):
            return await service.unary(b"")

        async def chat(self, stream):
            seen.append(current_identity())

    async with in_memory(All(), server_interceptors=[BearerAuthentication(verify)], **sending()) as (_, _, stub):
        assert await stub.unary(b"", metadata={"x-key": ""}) == b"ada ['x-key']"
        assert [reply async for reply in stub.count(b"")] == [b"ada []"]
        assert await stub.sum([]) == b"ada []"
        async with stub.chat() as call:
            await call.send_request(end=True)
            assert await call.recv_message() is None
    assert seen == ["ada"]


async def test_a_provider():
    """It is asked for each call; a call that brings its own token keeps it."""
    asked = []

    async def provide():
        await anyio.lowlevel.checkpoint()
        asked.append(1)
        return TOKEN

    async def name(token):
        return token

    async with in_memory(Who(), server_interceptors=[BearerAuthentication(name)], **sending(provide)) as (_, _, stub):
        for _ in range(2):
            assert await stub.unary(b"") == f"{TOKEN} []".encode()
        assert await stub.unary(b"", metadata={"authorization": "bearer own"}) == b"own []"
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError(f"cannot parse {TOKEN}"), Status.UNAUTHENTICATED),
        (RpcError(Status.UNAVAILABLE, TOKEN), Status.UNAVAILABLE),
        (GRPCError(Status.NOT_FOUND, TOKEN), Status.INTERNAL),
        (GRPCError(Status.OK, TOKEN), Status.INTERNAL),
        (None, Status.UNAUTHENTICATED),
    ],
)
async def test_a_provider_that_fails(error, status):
    """UNAUTHENTICATED, or its status unless only a server may give that (gRFC A54); our text has none of its own."""

    async def provide():
        if error is None:
            return f"{TOKEN}\r\nx: y"
        raise error

    async with in_memory(**sending(provide)) as (_, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        assert caught.value.status is status
        assert TOKEN not in str(caught.value)
        assert not connections_of(channel)


async def test_plain_text_is_refused():
    """Without TLS nothing is sent, and the provider is not even asked."""

    async def provide():
        raise AssertionError

    for token in (TOKEN, provide):
        async with in_memory(interceptors=[BearerToken(token)]) as (_, channel, stub):
            with pytest.raises(RpcError, match="over TLS only") as caught:
                await stub.unary(b"")
            assert caught.value.status is Status.UNAUTHENTICATED
            assert TOKEN not in str(caught.value)
            assert not connections_of(channel)


async def test_over_tls(site):
    """A channel with TLS sends the token without being asked twice."""
    guard = BearerAuthentication(verify)
    async with Server([Who()], codec=RawCodec(), tls=site.for_server(), interceptors=[guard]) as server:
        [target] = await server.listen("127.0.0.1:0")
        tls = site.for_client()
        async with Channel(target, codec=RawCodec(), tls=tls, interceptors=[BearerToken(TOKEN)]) as channel:
            assert channel.secure
            assert await EchoStub(channel).unary(b"") == b"ada []"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer  {TOKEN}",
        f"Bearer {TOKEN} x",
        "Bearer a,b",
    ],
)
async def test_unauthenticated_without_detail(authorization):
    """Whatever is wrong, the answer is the same, and the handler does not run."""

    class Never(Echo):
        async def unary(self, request):
            raise AssertionError

    async with in_memory(Never(), server_interceptors=[BearerAuthentication(verify)]) as (server, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"", metadata=None if authorization is None else {"authorization": authorization})
        assert (caught.value.status, caught.value.message) == (Status.UNAUTHENTICATED, None)
        await assert_no_leaks(server, channel)


async def test_two_tokens_are_refused():
    """Nobody says which one counts."""
    async with raw_client_of(BearerAuthentication(verify)) as (_, peer):
        credentials = [("authorization", f"Bearer {TOKEN}")]
        await peer.send(peer.headers(1, [*request_headers(), *credentials * 2], end=True))
        assert (await peer.response(1))[2]["grpc-status"] == "16"


def raw_client_of(interceptor):
    """Return a raw client of a server with an interceptor."""
    return raw_client(interceptors=[interceptor])


async def test_exempt_methods():
    """They need no token, and no token reaches them."""

    class Open(Echo):
        async def unary(self, request):
            with pytest.raises(LocalProtocolError, match="no call with a verified token"):
                current_identity()
            return repr(sorted(current_call().metadata)).encode()

    guard = BearerAuthentication(verify, exempt=["/test.Echo/Unary"])
    async with in_memory(Open(), server_interceptors=[guard], **sending("other")) as (_, _, stub):
        assert await stub.unary(b"") == b"[]"
        with pytest.raises(RpcError):
            await stub.sum([])


async def test_a_verification_that_fails(caplog):
    """Nobody is let in; a GRPCError is the status, and the log shows neither token nor text."""

    async def failing(token):
        if token == "denied":
            raise GRPCError(Status.PERMISSION_DENIED, "not you")
        raise RuntimeError(f"cannot check {token}")

    async with in_memory(server_interceptors=[BearerAuthentication(failing)], **sending()) as (_, _, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        assert (caught.value.status, caught.value.message) == (Status.UNAUTHENTICATED, None)
        with pytest.raises(RpcError, match="not you"):
            await stub.unary(b"", metadata={"authorization": "Bearer denied"})
    assert "failed with RuntimeError" in caplog.text
    assert TOKEN not in caplog.text


async def test_the_token_is_shown_nowhere(caplog):
    """Not in the repr of anything, not in a log at any level, not in an error."""
    caplog.set_level(logging.DEBUG)
    logging_ = CallLogging()
    texts = []

    class Failing(Echo):
        async def unary(self, request):
            texts.append(repr(current_call()))
            raise ValueError("other")

    guard, giver = BearerAuthentication(verify), BearerToken(TOKEN, allow_plaintext=True)
    async with in_memory(
        Failing(), server_interceptors=[logging_, guard], interceptors=[logging_, giver, logging_]
    ) as (server, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        texts += ["".join(traceback.format_exception(caught.value)), str(caught.value), repr(caught.value)]
        texts += [repr(thing) for thing in (server, channel, guard, giver, *connections_of(channel))]
        texts += [repr(connection.wire) for connection in connections_of(channel)]
    assert not [text for text in [*texts, caplog.text] if TOKEN in text]
    assert repr(giver) == "<BearerToken one token, also in plain text>"
    assert repr(BearerToken(verify)) == "<BearerToken a provider's tokens, over TLS>"
    assert repr(guard) == "<BearerAuthentication, 0 methods exempt>"


async def test_the_token_enters_no_table():
    """It is a literal that is never indexed, in each call (RFC 7541 §6.2.3)."""
    blocks = []

    async def script(peer):
        await peer.accept()
        for _ in range(2):
            stream_id, *_ = await peer.request()
            blocks.append(next(frame.data for frame in reversed(peer.seen) if frame.type == 1))
            assert not [1 for name, _ in peer._decoder.header_table.dynamic_entries if name == b"authorization"]
            await peer.respond(stream_id, b"")

    async with scripted(script, **sending()) as (_, stub):
        for _ in range(2):
            await stub.unary(b"")
    for block in blocks:
        assert b"\x10\x0dauthorization" + bytes((len(TOKEN) + 7,)) + f"Bearer {TOKEN}".encode() in block


@pytest.mark.parametrize("token", ["", "a b", "tök", "a\n", "=", "Bearer x", "a=b"])
def test_bad_tokens(token):
    """They are refused when the interceptor is made, and not shown."""
    with pytest.raises(ConfigurationError, match="RFC 6750") as caught:
        BearerToken(token)
    assert not token or repr(token) not in str(caught.value)
    with pytest.raises(ConfigurationError, match="not int"):
        BearerToken(5)


def test_secrets_are_not_shown_by_the_check_of_metadata():
    """A value that cannot be sent is not repeated under a key that is secret."""
    with pytest.raises(LocalProtocolError, match="authorization") as caught:
        encode_metadata({"authorization": "Bearer sésame"})
    assert "same" not in str(caught.value)
