"""Channels through an HTTP proxy: by their own setting and by the environment, in plain text and over TLS."""

import logging
from contextlib import asynccontextmanager

import anyio
import pytest

from connect_proxy import proxy
from echo import Echo, EchoStub, RawCodec
from memory import HANG, in_memory
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, ConnectionPool
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.server import Server
from orbit_net.status import Status
from patience import until_begun
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio

SECRET = "s3cr3tw0rd"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """Tests say themselves what the environment is."""
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def proxied(tls=None, **options):
    """Give ``(server, proxy)``; every tunnel leads to the server."""
    with anyio.fail_after(HANG):
        async with Server([Echo()], codec=RawCodec(), tls=tls) as server:
            [target] = await server.listen("127.0.0.1:0")
            async with proxy(target, **options) as given:
                yield server, given


@pytest.mark.parametrize("glue", [False, True])
async def test_a_channel_with_a_proxy(glue):
    """All kinds of call go through the tunnel to a host that only the proxy knows."""
    async with proxied() as (_server, given):
        async with Channel("backend.test:50051", codec=RawCodec(), proxy=given.url_with("u:p")) as channel:
            stub = EchoStub(channel)
            assert await stub.unary(b"x" * 100_000) == b"x" * 100_000
            assert [number async for number in stub.count(b"3")] == [b"0", b"1", b"2"]
            assert await stub.sum([b"1", b"2"]) == b"3"
            async with stub.chat() as call:
                await call.send_message(b"x")
                assert await call.recv_message() == b"x"
                await call.end()
            await assert_no_leaks(channel)
        assert given.asked == ["backend.test:50051"]


async def test_tls_through_a_proxy(site):
    """TLS is spoken with the target, and its certificate is checked for the target's name."""
    async with proxied(tls=site.for_server()) as (_server, given):
        tls = site.for_client()
        for target in ("https://localhost:5", "localhost:5"):
            async with Channel(target, codec=RawCodec(), tls=tls, proxy=given.url) as channel:
                assert await EchoStub(channel).unary(b"x") == b"x"
                assert channel.secure
        async with Channel("backend.test:5", codec=RawCodec(), tls=tls, proxy=given.url) as channel:
            with pytest.raises(RpcError, match=r"certificate is not for .backend\.test."):
                await EchoStub(channel).unary(b"x")
        assert given.asked == ["localhost:5", "localhost:5", "backend.test:5"]


@pytest.mark.parametrize("name", ["grpc_proxy", "https_proxy", "HTTPS_PROXY"])
async def test_the_environment(monkeypatch, name):
    """The variables are looked at when the channel is made."""
    async with proxied() as (_server, given):
        monkeypatch.setenv(name, given.url)
        channel = Channel("backend.test:50051", codec=RawCodec())
        monkeypatch.delenv(name)
        async with channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
        assert given.asked == ["backend.test:50051"]


async def test_without_a_proxy(monkeypatch):
    """None, an exception, a loopback address and a connector of one's own lead past the environment's."""
    async with proxied() as (server, given):
        [target] = server._addresses
        monkeypatch.setenv("https_proxy", given.url)
        port = target.rpartition(":")[2]
        for options in ({"proxy": None}, {}):
            async with Channel(target, codec=RawCodec(), **options) as channel:
                assert await EchoStub(channel).unary(b"x") == b"x"
        async with Channel(f"localhost:{port}", codec=RawCodec()) as channel:
            assert await EchoStub(channel).unary(b"x") == b"x"
        monkeypatch.setenv("no_proxy", ".test")
        async with Channel("backend.test:1", codec=RawCodec()) as channel:
            with pytest.raises(RpcError, match=r"cannot connect to backend\.test:1"):
                await EchoStub(channel).unary(b"x", timeout=5)
        async with in_memory() as (_, channel, stub):
            assert await stub.unary(b"x") == b"x"
        assert given.requests == []


async def test_a_pool():
    """All connections of a pool go through its proxy."""
    async with proxied() as (_, given):
        async with ConnectionPool(codec=RawCodec(), proxy=given.url) as pool:
            connection = await pool.get_connection("http://node1:50051")
            assert await EchoStub(connection).unary(b"x") == b"x"
        assert given.asked == ["node1:50051"]


async def test_a_refusal(caplog):
    """Calls fail with what the proxy said; credentials are in no text and no log."""
    caplog.set_level(logging.DEBUG)
    async with proxied(answer=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as (_server, given):
        async with Channel("backend.test:1", codec=RawCodec(), proxy=given.url_with(f"user:{SECRET}")) as channel:
            with pytest.raises(RpcError) as raised:
                await EchoStub(channel).unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE
            assert "407 Proxy Authentication Required" in raised.value.message
            assert f"through the proxy http://***@127.0.0.1:{given.port}" in raised.value.message
            for text in (raised.value.message, repr(channel), caplog.text):
                assert SECRET not in text
                assert "dXNlcj" not in text


async def test_a_proxy_that_recovers():
    """The channel tries again after its backoff, through the proxy."""
    settings = ChannelSettings(backoff=BackoffPolicy(initial=0.01, maximum=0.01))
    async with proxied(answer=b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as (_server, given):
        async with Channel("backend.test:1", codec=RawCodec(), proxy=given.url, settings=settings) as channel:
            stub = EchoStub(channel)
            with pytest.raises(RpcError, match="502 Bad Gateway"):
                await stub.unary(b"x")
            given.answer = b"HTTP/1.1 200 OK\r\n\r\n"
            assert await stub.having(wait_for_ready=True).unary(b"x") == b"x"


async def test_a_proxy_that_says_nothing():
    """The error names the proxy, because its time is shorter than that of the attempt."""
    told = ""
    async with proxied(answer=None) as (_server, given):

        async def call(timeout):
            nonlocal told
            settings = ChannelSettings(connect_timeout=timeout)
            by_proxy = rf"proxy {given.url}: it did not answer within {timeout / 2:g} s"
            async with Channel("backend.test:1", codec=RawCodec(), proxy=given.url, settings=settings) as channel:
                with pytest.raises(
                    RpcError, match=rf"{by_proxy}|no HTTP/2 connection .* within {timeout:g} s"
                ) as raised:
                    await EchoStub(channel).unary(b"x")
            told = str(raised.value)

        # The attempt's own time may be up first on a machine that stops for so long.
        await until_begun(call, lambda: "proxy" in told, first=0.4)


def test_wrong_settings(monkeypatch):
    """They are refused when the channel is made."""
    with pytest.raises(ConfigurationError, match=r"proxy is 'https://\*\*\*@p'; only"):
        Channel("a:1", proxy="https://u:p@p")
    with pytest.raises(ConfigurationError, match="socket of this machine"):
        Channel("unix:/x", proxy="http://p")
    monkeypatch.setenv("https_proxy", "ftp://p")
    with pytest.raises(ConfigurationError, match="https_proxy is 'ftp://p'; only"):
        Channel("a:1")
