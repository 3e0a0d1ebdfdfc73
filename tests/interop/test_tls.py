"""TLS and mTLS with grpcio on either side."""

from __future__ import annotations

import grpc
import pytest

from echo import Echo
from grpcio_peer import GrpcioEcho, in_thread, our_client, our_server
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio


class WhoCalls(Echo):
    """Answers with the names of the client."""

    async def unary(self, request):
        certificate = current_call().peer.certificate
        return b"nobody" if certificate is None else certificate.common_name.encode()


class WhoCallsGrpcio(GrpcioEcho):
    """The same by grpcio."""

    def unary(self, request, context):
        """Answer with the names of the client."""
        return b" ".join(context.auth_context().get("x509_common_name", [b"nobody"]))


def channel_credentials(site, pair=None):
    """Return grpcio's credentials of a client."""
    return grpc.ssl_channel_credentials(
        site.authority.pem, None if pair is None else pair.key_pem(), None if pair is None else pair.chain
    )


def server_credentials(site, *, verify):
    """Return grpcio's credentials of a server."""
    pair = (site.server.key_pem(), site.server.chain)
    return grpc.ssl_server_credentials([pair], site.authority.pem if verify else None, verify)


def failing(call):
    """Return the error of a unary call; run it in a thread."""
    with pytest.raises(grpc.RpcError) as caught:
        call(b"")
    return caught.value


async def test_grpcio_calls_us(site):
    """All four kinds of call of grpcio over TLS, with large messages."""
    credentials = channel_credentials(site)
    async with our_server(tls=site.for_server(), credentials=credentials) as (_, stub):
        data = bytes(1_000_000)
        assert await in_thread(stub.unary, data) == data
        assert await in_thread(lambda: list(stub.count(b"100"))) == [b"%d" % number for number in range(100)]
        assert await in_thread(stub.sum, iter([b"1", b"2"])) == b"3"
        assert await in_thread(lambda: list(stub.chat(iter([data, b"", data])))) == [data, b"", data]


async def test_we_call_grpcio(site):
    """All four kinds of call of ours over TLS, with large messages."""
    given = {"tls": site.for_client()}
    async with our_client(credentials=server_credentials(site, verify=False), given=given) as (_, stub):
        data = bytes(1_000_000)
        assert await stub.unary(data) == data
        assert [reply async for reply in stub.count(b"100")] == [b"%d" % number for number in range(100)]
        assert await stub.sum([b"1", b"2"]) == b"3"
        async with stub.chat() as stream:
            for text in (data, b"", data):
                await stream.send_message(text)
                assert await stream.recv_message() == text


async def test_grpcio_shows_its_certificate(site):
    """With mTLS our handlers see who grpcio is; where it is optional, nobody is fine."""
    credentials = channel_credentials(site, site.client)
    async with our_server(WhoCalls(), tls=site.for_mtls(), credentials=credentials) as (_, stub):
        assert await in_thread(stub.unary, b"") == b"client-1"
    tls = site.for_mtls(client_verification="optional")
    async with our_server(WhoCalls(), tls=tls, credentials=channel_credentials(site)) as (_, stub):
        assert await in_thread(stub.unary, b"") == b"nobody"


async def test_we_show_our_certificate(site):
    """With mTLS grpcio's handlers see who we are."""
    given = {"tls": site.with_certificate()}
    credentials = server_credentials(site, verify=True)
    async with our_client(WhoCallsGrpcio(), credentials=credentials, given=given) as (_, stub):
        assert await stub.unary(b"") == b"client-1"


@pytest.mark.parametrize("kind", ["missing", "expired", "stranger"])
async def test_we_refuse_grpcio(kind, site, caplog):
    """grpcio's call is UNAVAILABLE, and our log says why."""
    pair = {"missing": None, "expired": site.authority.expired(), "stranger": site.stranger.issue()}[kind]
    words = {"missing": "sent no certificate", "expired": "has expired", "stranger": "unknown authority"}[kind]
    async with our_server(tls=site.for_mtls(), credentials=channel_credentials(site, pair)) as (_, stub):
        error = await in_thread(failing, stub.unary)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: words in caplog.text)


@pytest.mark.parametrize("kind", ["missing", "expired", "stranger"])
async def test_grpcio_refuses_us(kind, site):
    """Our call is UNAVAILABLE; grpcio sends no alert, so the text can only guess."""
    pair = {"missing": None, "expired": site.authority.expired(), "stranger": site.stranger.issue()}[kind]
    given = {"tls": site.for_client(pair)}
    async with our_client(credentials=server_credentials(site, verify=True), given=given) as (_, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
    assert caught.value.status is Status.UNAVAILABLE
    guess = "may require a client certificate" if kind == "missing" else "may have refused our certificate"
    assert guess in caught.value.message


async def test_grpcio_in_plain_text(site, caplog):
    """grpcio in plain text fails on our TLS port, and our log says why; ours on grpcio's says it in the error."""
    async with our_server(tls=site.for_server()) as (_, stub):
        assert (await in_thread(failing, stub.unary)).code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: "in plain text, and this port expects TLS" in caplog.text)
    async with our_client(given={"tls": site.for_client()}) as (_, stub):
        with pytest.raises(RpcError, match="the server speaks HTTP/2 in plain text on this port"):
            await stub.unary(b"")


async def test_plain_text_to_grpcio(site):
    """Our plain-text call on grpcio's TLS port is UNAVAILABLE."""
    async with our_client(credentials=server_credentials(site, verify=False)) as (_, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
    assert caught.value.status is Status.UNAVAILABLE


async def test_a_name_override(site):
    """grpcio's clients under another name are served as well."""
    tls = site.for_server(site.authority.issue(hosts=("node.example",)))
    options = [("grpc.ssl_target_name_override", "node.example")]
    async with our_server(tls=tls, credentials=channel_credentials(site), options=options) as (_, stub):
        assert await in_thread(stub.unary, b"x") == b"x"
