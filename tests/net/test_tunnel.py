"""Opening a tunnel through a real proxy: what it is asked, what it may answer, and that no byte is lost."""

import logging

import anyio
import pytest

from checkpoints import at_every_checkpoint
from connect_proxy import OPENED, TunnelProxy, proxy
from orbit_net.errors import ConnectError
from orbit_net.net.address import TcpAddress
from orbit_net.net.proxy import parse_proxy
from orbit_net.net.tunnel import connect_through

pytestmark = pytest.mark.anyio

TARGET = TcpAddress("backend.test", 50051)
SECRET = "s3cr3tw0rd"


async def tunnel(given, *, credentials=None, address=TARGET, timeout=5.0):
    """Open a tunnel."""
    url = given.url if credentials is None else given.url_with(credentials)
    return await connect_through(parse_proxy(url, "proxy"), address, timeout=timeout, tcp_keepalive=10)


async def greeter(client):
    """Say hello first, then echo."""
    async with client:
        await client.send(b"hello")
        try:
            while True:
                await client.send(await client.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@pytest.fixture
async def server():
    """``host:port`` of a server that speaks first."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, greeter)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def read(stream, size):
    """Read a number of bytes."""
    data = b""
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


@pytest.mark.parametrize("how", ["plain", "glue", "bytewise"])
async def test_a_tunnel(server, how):
    """However the answer arrives, what follows it is the server's, to the byte, and the name is left to the proxy."""
    options = {} if how == "plain" else {how: True}
    async with proxy(server, **options) as given:
        stream = await tunnel(given)
        async with stream:
            assert await read(stream, 5) == b"hello"
            await stream.send(b"x" * 100_000)
            assert await read(stream, 100_000) == b"x" * 100_000
            assert stream.extra(anyio.abc.SocketAttribute.remote_port) == given.port
        assert given.requests == [b"CONNECT backend.test:50051 HTTP/1.1\r\nHost: backend.test:50051\r\n\r\n"]


async def test_small_reads_of_what_came_early(server):
    """Bytes that came with the answer can be read in pieces."""
    async with proxy(server, glue=True) as given:
        async with await tunnel(given) as stream:
            assert [await stream.receive(2) for _ in range(3)] == [b"he", b"ll", b"o"]
            await stream.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()


async def test_credentials(server):
    """They are sent to the proxy, decoded and in base64."""
    async with proxy(server) as given:
        async with await tunnel(given, credentials="user:p%20w"):
            pass
        [request] = given.requests
        assert b"\r\nProxy-Authorization: Basic dXNlcjpwIHc=\r\n" in request


@pytest.mark.parametrize("address", [TcpAddress("2001:db8::1", 5), TcpAddress("10.0.0.1", 5)])
async def test_addresses(server, address):
    """An address of IPv6 stands in brackets."""
    async with proxy(server) as given:
        async with await tunnel(given, address=address):
            pass
        assert given.asked == [str(address)]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + OPENED,
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000 + b"\r\n\r\n",
    ],
)
async def test_answers_that_are_fine(server, answer):
    """Interim responses, old versions, bare line feeds and long headers."""
    async with proxy(server, answer=answer) as given:
        async with await tunnel(given) as stream:
            assert await read(stream, 5) == b"hello"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            r"it answered 'HTTP/1\.1 407 Proxy Authentication Required': it wants credentials in its URL",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", r"it answered 'HTTP/1\.1 502 Bad Gateway'$"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x\r\n\r\n", r"it answered 'HTTP/1\.1 302 Found'$"),
        (b"SSH-2.0-OpenSSH\r\n", "it does not speak HTTP: it said 'SSH-2.0-OpenSSH'"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "it does not speak HTTP: it said "),
        (b"HTTP/1.1 two hundred\r\n\r\n", "it does not speak HTTP: it said 'HTTP/1.1 two hundred'"),
        (b"HTTP/1.x 999\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/2 403\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 403 " + b"x" * 1_000 + b"\r\n\r\n", r"it answered 'HTTP/1\.1 403 x{107}'…$"),
        (b"HTTP/1.1 403 \x1b[31m\r\n\r\n", r"it answered 'HTTP/1\.1 403 \\x1b\[31m'$"),
        (b"HTTP/1.1 403 No\r\n" + b"x: y\r\n" * 10_000, "its answer has more than 16384 bytes of headers"),
        (b"HTTP/1.1 403 No\r\n", "it closed the connection instead of answering"),
        (b"", "it closed the connection instead of answering"),
        (b"HTT", "it closed the connection instead of answering"),
    ],
)
async def test_answers_that_open_nothing(answer, text):
    """The error says which proxy and what it answered, and nothing that a terminal would obey."""
    async with proxy(answer=answer) as given:
        with pytest.raises(ConnectError, match=text) as raised:
            await tunnel(given)
        assert str(raised.value).startswith(f"no way to backend.test:50051 through the proxy {given.url}: ")


async def test_refused_credentials(caplog):
    """They are in no error and in no log."""
    caplog.set_level(logging.DEBUG)
    async with proxy(answer=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as given:
        with pytest.raises(ConnectError, match=r"http://\*\*\*@127.*: it does not accept the credentials") as raised:
            await tunnel(given, credentials=f"user:{SECRET}")
    assert b"\r\nProxy-Authorization: Basic " in given.requests[0]
    error = raised.value
    while error is not None:
        assert SECRET not in str(error)
        assert "dXNlcj" not in str(error)
        error = error.__cause__ or error.__context__
    assert SECRET not in caplog.text


async def test_a_proxy_that_says_nothing():
    """It has its time, and is let go of then."""
    async with proxy(answer=None) as given:
        with pytest.raises(ConnectError, match=r"it did not answer within 0\.05 s"):
            await tunnel(given, timeout=0.05)


async def test_a_proxy_that_is_not_there():
    """The error names the proxy too."""
    async with proxy() as given:
        port = given.port
    with pytest.raises(ConnectError, match=rf"through the proxy http://127\.0\.0\.1:{port}: cannot connect to 127"):
        await tunnel(given)


async def test_a_proxy_that_cannot_be_reached(monkeypatch):
    """A network that swallows the attempt to connect is a proxy that does not answer."""

    async def connect(address, **options):
        await anyio.sleep_forever()

    async with proxy() as given:
        monkeypatch.setattr("orbit_net.net.tunnel.connect", connect)
        with pytest.raises(ConnectError, match=rf"proxy {given.url}: it did not answer within 0\.05 s"):
            await tunnel(given, timeout=0.05)


@pytest.mark.parametrize("how", ["plain", "glue"])
async def test_cancelled_at_every_checkpoint(server, how):
    """Wherever it is cancelled, nothing stays open, and the next tunnel works."""

    async def one(knife):
        async with proxy(server, glue=how == "glue") as given:
            stream = await knife(tunnel, given)
            if stream is not None:
                async with stream:
                    assert await read(stream, 5) == b"hello"
            async with await tunnel(given) as stream:
                assert await read(stream, 5) == b"hello"

    await at_every_checkpoint(one)


async def test_cancellation():
    """Cancelling closes the connection to the proxy."""
    closed = anyio.Event()

    async def serve(client):
        async with client:
            try:
                while True:
                    await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                closed.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        given = TunnelProxy({})
        given.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.move_on_after(0.05) as scope:
            await tunnel(given)
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            await closed.wait()
        tasks.cancel_scope.cancel()
