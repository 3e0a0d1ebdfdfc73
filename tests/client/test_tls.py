"""Calls over TLS, and handshakes that fail: who is told what."""

import logging
import ssl
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.streams.tls import TLSListener, TLSStream

from echo import Echo, EchoStub, RawCodec
from memory import HANG, MemoryConnector, memory_pair
from orbit_net.client import BackoffPolicy, Channel, ChannelSettings, TlsConfig
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.net import Credentials, TlsStream
from orbit_net.net.tlscontext import build_context
from orbit_net.server import Server, ServerSettings, current_call
from orbit_net.status import Status
from orbit_net.wire import PatienceSettings
from rawpeer import PREFACE, RawPeer
from settle import until

pytestmark = pytest.mark.anyio


class Introspective(Echo):
    """Says who calls."""

    async def unary(self, request):
        call = current_call()
        certificate = call.peer.certificate
        if request != b"peer?":
            return request
        if certificate is None:
            assert call.peer.cert() is None
            return b"nobody"
        assert int(call.peer.cert()["serialNumber"], 16) == certificate.serial_number
        return f"{certificate.common_name} {' '.join(certificate.names)} {certificate.serial_number}".encode()


@asynccontextmanager
async def secured(server_tls, client_tls, *, scheme="", settings=None, address="127.0.0.1:0"):
    """Give ``(server, channel, stub)`` over loopback."""
    with anyio.fail_after(HANG):
        async with Server([Introspective()], codec=RawCodec(), tls=server_tls, settings=settings) as server:
            target = (await server.listen(address))[-1]
            async with Channel(scheme + target, codec=RawCodec(), tls=client_tls) as channel:
                yield server, channel, EchoStub(channel)


async def refusal(server_tls, client_tls, caplog, *, logged):
    """Return the text of the UNAVAILABLE that a call gets; the server's log has ``logged`` and an address."""
    async with secured(server_tls, client_tls) as (_, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"x")
        assert caught.value.status is Status.UNAVAILABLE
        assert isinstance(caught.value.__cause__, ConnectError)
        assert channel.target in caught.value.message
        if logged:
            await until(lambda: logged in caplog.text)
            assert "the TLS handshake with 127.0.0.1:" in caplog.text
    return caught.value.message


# --- calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_four_kinds(version, site):
    """All kinds of call work over both versions of TLS, messages of many records too."""
    async with secured(site.for_mtls(), site.with_certificate()) as (server, _, stub):
        server.tls._context.maximum_version = version
        data = bytes(range(256)) * 8_192
        assert await stub.unary(data) == data
        assert [message async for message in stub.count(b"3")] == [b"0", b"1", b"2"]
        assert await stub.sum([b"1", b"2", b"3"]) == b"6"
        async with stub.chat() as stream:
            for text in (b"one", b"", data):
                await stream.send_message(text)
                assert await stream.recv_message() == text
            engine = next(iter(server._connections))._transport._ssl
            assert engine.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "unix:{}/socket"])
async def test_addresses(address, site, tmp_path):
    """The targets that listen returns are usable with tls=; a Unix socket's server is called localhost."""
    async with secured(site.for_server(), site.for_client(), address=address.format(tmp_path)) as (_, _, stub):
        assert await stub.unary(b"x") == b"x"


async def test_https_targets(site):
    """An https:// target takes a config; its scheme stands in the request, and plain text has http."""
    async with secured(site.for_server(), site.for_client(), scheme="https://") as (_, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert (b":scheme", b"https") in channel._methods["/test.Echo/Unary"].template.fields
    async with secured(None, None) as (_, channel, stub):
        assert await stub.unary(b"x") == b"x"
        assert (b":scheme", b"http") in channel._methods["/test.Echo/Unary"].template.fields


async def test_server_addresses(site):
    """A server's address may say https:// or http://, if that is what the server does."""
    async with Server([Echo()], tls=site.for_server()) as server:
        with pytest.raises(ConfigurationError, match="asks for plain text"):
            await server.listen("http://127.0.0.1:0")
        assert (await server.listen("https://127.0.0.1:0"))[0].startswith("127.0.0.1:")
    async with Server([Echo()]) as server:
        with pytest.raises(ConfigurationError, match="without tls="):
            await server.listen("https://127.0.0.1:0")


async def test_a_server_name(site):
    """The server name replaces the host of the target in the check of the certificate."""
    server = site.for_server(site.authority.issue(hosts=("node.example",)))
    async with secured(server, site.for_client(server_name="node.example")) as (_, _, stub):
        assert await stub.unary(b"x") == b"x"


async def test_a_connector(site):
    """TLS is spoken over a connector's streams too."""
    with anyio.fail_after(HANG):
        async with (
            Server([Echo()], codec=RawCodec(), tls=site.for_server()) as server,
            anyio.create_task_group() as tasks,
        ):
            network = MemoryConnector(tasks, server.serve_stream)
            async with Channel("localhost:1", codec=RawCodec(), connector=network, tls=site.for_client()) as channel:
                data = bytes(3_000_000)
                assert await EchoStub(channel).unary(data) == data
            server.close()


# --- who is there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verification", ["none", "optional", "required"])
async def test_certificates_reach_both_sides(verification, site):
    """Handlers see a client's certificate that was verified; calls see the server's."""
    server = site.for_mtls(client_verification=verification)
    async with secured(server, site.with_certificate()) as (_, _, stub):
        seen = (await stub.unary(b"peer?")).decode()
        assert seen == (
            "nobody" if verification == "none" else f"client-1 localhost 127.0.0.1 ::1 {site.client.serial}"
        )
        async with stub.chat() as stream:
            await stream.send_request()
            certificate = stream.peer.certificate
            assert (certificate.common_name, str(certificate)) == ("server-1", "server-1")
            assert certificate.serial_number == site.server.serial
            assert ssl.DER_cert_to_PEM_cert(certificate.der).encode().split() == site.server.chain.split()
            assert ("DNS", "localhost") in stream.peer.cert()["subjectAltName"]
            assert hash(stream.peer) == hash(stream.peer)


async def test_an_optional_certificate(site, caplog):
    """A client without a certificate is served where one is optional; one with a wrong certificate is not."""
    server = site.for_mtls(client_verification="optional")
    async with secured(server, site.for_client()) as (_, _, stub):
        assert await stub.unary(b"peer?") == b"nobody"
    text = await refusal(server, site.for_client(site.stranger.issue()), caplog, logged="unknown authority")
    assert "the server refused our certificate" in text


# --- refusals by the server --------------------------------------------------------------------------


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def version(request, monkeypatch):
    """The newest version of TLS that anybody speaks."""
    limit_versions(monkeypatch, request.param)


def limit_versions(monkeypatch, newest):
    """Make it the newest version that servers speak."""

    def limited(config, *, server):
        context = build_context(config, server=server)
        if server:
            context.maximum_version = newest
        return context

    monkeypatch.setattr("orbit_net.net.credentials.build_context", limited)


@pytest.mark.usefixtures("version")
async def test_a_missing_client_certificate(site, caplog):
    """The client learns that a certificate is required, the log that none came."""
    text = await refusal(site.for_mtls(), site.for_client(), caplog, logged="the client sent no certificate")
    assert "the server requires a client certificate, and none is given here" in text


@pytest.mark.usefixtures("version")
async def test_an_expired_client_certificate(site, caplog):
    """Both sides say that it has expired."""
    tls = site.for_client(site.authority.expired())
    text = await refusal(site.for_mtls(), tls, caplog, logged="the client's certificate has expired")
    assert "the server refused our certificate: it has expired" in text


@pytest.mark.usefixtures("version")
async def test_a_client_certificate_of_another_authority(site, caplog):
    """Both sides say that the authority is unknown."""
    tls = site.for_client(site.stranger.issue())
    logged = "the client's certificate is signed by an unknown authority (CA)"
    text = await refusal(site.for_mtls(), tls, caplog, logged=logged)
    assert "the server refused our certificate: it is signed by an authority (CA) that is unknown there" in text


# --- refusals by the client --------------------------------------------------------------------------


async def test_an_expired_server(site, caplog):
    """A server's certificate that has expired."""
    logged = "the client refused our certificate: it has expired"
    text = await refusal(site.for_server(site.authority.expired()), site.for_client(), caplog, logged=logged)
    assert "the server's certificate has expired" in text


async def test_a_server_that_is_not_valid_yet(site, caplog):
    """A server's certificate whose time has not come."""
    from certificates import DAY, NOW

    server = site.for_server(site.authority.issue(start=NOW + DAY, end=NOW + 2 * DAY))
    assert "the server's certificate is not valid yet" in await refusal(server, site.for_client(), caplog, logged="")


async def test_a_server_of_another_authority(site, caplog):
    """A server's certificate by an authority that the channel does not trust; nor does the system."""
    logged = "the client refused our certificate: it is signed by an authority (CA) that is unknown there"
    for tls in (site.for_client(ca=site.stranger.pem), TlsConfig()):
        text = await refusal(site.for_server(), tls, caplog, logged=logged)
        assert "the server's certificate is signed by an unknown authority (CA)" in text


@pytest.mark.parametrize("name", [None, "node.example"])
async def test_a_server_of_another_name(name, site, caplog):
    """A server's certificate for another host."""
    server = site.for_server(site.authority.issue(hosts=("other.example",)))
    text = await refusal(server, site.for_client(server_name=name), caplog, logged="the client refused our certificate")
    assert f"the server's certificate is not for '{name or '127.0.0.1'}'" in text


# --- versions, ALPN, other protocols -----------------------------------------------------------------


async def test_no_version_in_common(site, caplog, monkeypatch):
    """A minimum that the other side does not reach."""
    limit_versions(monkeypatch, ssl.TLSVersion.TLSv1_2)
    tls = site.for_client(minimum_version="1.3")
    text = await refusal(site.for_server(), tls, caplog, logged="does not speak a version of TLS that both sides allow")
    assert "the server does not speak a version of TLS that both sides allow" in text


@asynccontextmanager
async def foreign_server(context, serve=None):
    """Give the target of a server by anyio's own TLS."""
    with anyio.fail_after(HANG):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        if context is not None:
            listener = TLSListener(listener, context, standard_compatible=False)

        async def handle(stream):
            async with stream:
                try:
                    await (serve or drop)(stream)
                except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
                    return

        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            yield f"127.0.0.1:{port}"
            tasks.cancel_scope.cancel()


async def drop(stream):
    """Read to the end."""
    while True:
        await stream.receive()


async def failing_call(target, tls):
    """Return the text of a call's UNAVAILABLE."""
    async with Channel(target, codec=RawCodec(), tls=tls) as channel:
        with pytest.raises(RpcError) as caught:
            await EchoStub(channel).unary(b"x")
    assert caught.value.status is Status.UNAVAILABLE
    return caught.value.message


async def test_a_server_without_h2(site):
    """A TLS server that does not agree to ALPN h2 is no gRPC server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = site.server.write(site.directory, "server")
    context.load_cert_chain(files["certificate"], files["private_key"])
    async with foreign_server(context) as target:
        text = await failing_call(target, site.for_client())
    assert "the server does not speak HTTP/2 on this port: it did not agree to ALPN h2" in text


async def test_a_client_without_h2(site, caplog):
    """A client that does not offer ALPN h2 is turned away; the log says why."""
    context = ssl.create_default_context(cafile=site.ca)
    async with secured(site.for_server(), site.for_client()) as (_, channel, stub):
        host, port = channel.target.split(":")
        stream = await anyio.connect_tcp(host, int(port))
        client = await TLSStream.wrap(stream, hostname="localhost", ssl_context=context, standard_compatible=False)
        async with client:
            with pytest.raises(anyio.EndOfStream):
                await client.receive()
        await until(lambda: "the client does not speak HTTP/2 on this port: it did not agree to ALPN h2" in caplog.text)
        assert await stub.unary(b"x") == b"x"


async def test_a_plain_client_on_a_tls_port(site, caplog):
    """Our plain-text channel learns that the port is TLS; the log names the client."""
    text = await refusal(site.for_server(), None, caplog, logged="the client speaks HTTP/2 in plain text")
    assert "the server speaks TLS on this port, and this channel is plain text" in text


@pytest.mark.parametrize(
    ("first", "words"),
    [(b"GET / HTTP/1.1\r\n\r\n", "the client speaks HTTP/1 in plain text"), (b"\x00\x01", "does not speak TLS")],
)
async def test_other_clients_on_a_tls_port(first, words, site, caplog):
    """The log tells what was spoken instead; the client gets an alert; the server goes on."""
    async with secured(site.for_server(), site.for_client()) as (_, channel, stub):
        host, port = channel.target.split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(first)
            assert (await stream.receive())[:2] == b"\x15\x03"
        await until(lambda: words in caplog.text)
        assert await stub.unary(b"x") == b"x"


async def test_a_tls_client_on_a_plain_port(site, caplog):
    """Our TLS channel learns that the port is plain text; so does the server."""
    caplog.set_level(logging.DEBUG, "orbit_net.server")
    async with secured(None, site.for_client()) as (_, _, stub):
        with pytest.raises(RpcError, match="the server speaks HTTP/2 in plain text on this port, and this channel"):
            await stub.unary(b"x")
        await until(lambda: "the client speaks TLS, and this port is plain text" in caplog.text)


async def test_an_http1_server(site):
    """An HTTP/1 server in plain text is quoted."""

    async def serve(stream):
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with foreign_server(None, serve) as target:
        text = await failing_call(target, site.for_client())
    assert "the server speaks HTTP/1 in plain text, and this channel expects TLS: it answered 'HTTP/1.1 400" in text


async def test_a_server_that_says_nothing(site):
    """A server that closes at once has closed during the handshake."""

    async def serve(stream):
        await stream.receive()

    async with foreign_server(None, serve) as target:
        text = await failing_call(target, site.for_client())
    assert "during the" in text


# --- the last words of a server that resets ----------------------------------------------------------


class Resetting:
    """A byte stream that ends with a reset after what it was given to say."""

    def __init__(self, *words):
        self.words = list(words)
        self.extra_attributes = {}

    async def receive(self, max_bytes=65_536):
        await anyio.lowlevel.checkpoint()
        if self.words:
            return self.words.pop(0)
        raise anyio.BrokenResourceError("reset by peer")

    async def send(self, data):
        await anyio.lowlevel.checkpoint()
        raise anyio.BrokenResourceError("broken pipe")

    async def send_eof(self):
        raise anyio.BrokenResourceError("broken pipe")

    async def aclose(self):
        await anyio.lowlevel.checkpoint()

    def extra(self, attribute, default):
        return default


@pytest.mark.parametrize("words", [(b"\x15\x03\x03\x00\x02\x02\x0a",), (b"\x15", b"\x03\x03")])
async def test_an_alert_before_a_reset(words):
    """What a server said before it reset the connection is what the call's error says, not that writing failed."""

    async def connector():
        return Resetting(*words)

    async with Channel("node1:1", codec=RawCodec(), connector=connector) as channel:
        with pytest.raises(RpcError, match="the server speaks TLS on this port, and this channel is plain text"):
            await EchoStub(channel).unary(b"x")


async def test_a_reset_alone():
    """Without such words, the error tells of the reset."""

    async def connector():
        return Resetting()

    async with Channel("node1:1", codec=RawCodec(), connector=connector) as channel:
        with pytest.raises(RpcError, match="reset by peer"):
            await EchoStub(channel).unary(b"x")


# --- slow and broken handshakes ----------------------------------------------------------------------


async def test_a_slow_handshake(site, caplog):
    """A client that does not go on is cut off after the limit, and others are served meanwhile."""
    settings = ServerSettings(patience=PatienceSettings(handshake=0.2))
    with anyio.fail_after(HANG):
        async with Server([Echo()], codec=RawCodec(), tls=site.for_server(), settings=settings) as server:
            ours, theirs = memory_pair()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve_stream, theirs)
                async with ours:
                    await ours.send(b"\x16\x03\x01")
                    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                        await ours.receive()
    assert "failed: it was not done within 0.2 s" in caplog.text


async def test_a_handshake_does_not_hold_up_the_next(site):
    """A client that is silent in its handshake does not keep the next one from being accepted."""
    async with secured(site.for_server(), site.for_client()) as (_, channel, stub):
        host, port = channel.target.split(":")
        async with await anyio.connect_tcp(host, int(port)):
            assert await stub.unary(b"x") == b"x"


async def test_leaving_during_a_handshake(site):
    """Server and channel can be left while a handshake is under way."""
    backoff = BackoffPolicy()
    with anyio.fail_after(HANG):
        async with Server([Echo()], codec=RawCodec(), tls=site.for_server()) as server:
            [target] = await server.listen("127.0.0.1:0")
            host, port = target.split(":")
            stream = await anyio.connect_tcp(host, int(port))
            await stream.send(b"\x16")
        async with stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        async with foreign_server(None) as target:
            settings = ChannelSettings(backoff=backoff)
            async with Channel(target, codec=RawCodec(), tls=site.for_client(), settings=settings) as channel:
                with pytest.raises(RpcError) as caught:
                    await EchoStub(channel).unary(b"x", timeout=0.1)
    assert caught.value.status is Status.DEADLINE_EXCEEDED


# --- the stream --------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_pair(site):
    """Give the two ends of a TLS connection in memory, and the client's transport."""
    with anyio.fail_after(HANG):
        ours, theirs = memory_pair()
        server = Credentials(site.for_server(), server=True)
        client = Credentials(site.for_client(), server=False)
        ends = {}

        async def accept():
            ends["server"] = await server.accept(theirs)

        async def connector():
            return ours

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            ends["client"] = await client.connect(connector, "localhost", "test")
        async with ours, theirs:
            yield ends["client"], ends["server"], ours


async def test_the_end_of_a_stream(site):
    """A closing alert and a plain end of the transport are both the end; what was sent before arrives."""
    for polite in (True, False):
        async with tls_pair(site) as (client, server, transport):
            assert isinstance(client, TlsStream)
            for end in (client, server):
                await end.send(b"first")
            assert (await client.receive(), await server.receive()) == (b"first", b"first")
            await client.send(b"last")
            await (client.send_eof() if polite else transport.aclose())
            assert await server.receive() == b"last"
            with pytest.raises(anyio.EndOfStream):
                await server.receive()


async def test_after_the_closing_alert_nothing_is_read(site):
    """What arrives after our own end is dropped without an error, so the peer is not reset."""
    async with tls_pair(site) as (client, server, _):
        await server.send(b"read")
        assert await client.receive() == b"read"
        await server.send(b"unread")
        await client.send_eof()
        await server.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await client.receive()


async def test_bytes_that_are_no_record(site):
    """Broken records end the stream with our words."""
    async with tls_pair(site) as (_, server, transport):
        await transport.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(anyio.BrokenResourceError, match="TLS failed"):
            await server.receive()


async def test_a_raw_client_over_tls(site):
    """Frame by frame, over anyio's own TLS: our server agrees to h2 and closes with an alert."""
    context = ssl.create_default_context(cafile=site.ca)
    context.set_alpn_protocols(["h2"])
    async with secured(site.for_server(), site.for_client()) as (server, channel, _):
        host, port = channel.target.split(":")
        stream = await anyio.connect_tcp(host, int(port))
        async with await TLSStream.wrap(stream, hostname="localhost", ssl_context=context) as client:
            peer = RawPeer(client)
            await peer.send(PREFACE, peer.settings())
            await peer.frame()
            server.close()
            await peer.until_closed()
