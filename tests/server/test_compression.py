"""Clients that compress as they like, and the headers of the answer (compression.md)."""

import zlib

import pytest

from echo import Echo
from orbit_net.server import ServerSettings
from rawpeer import message, raw_client, request_headers
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio

TEXT = b"again and again, " * 100
GZIP = zlib.compress(TEXT, 6, 31)


async def call(peer, stream_id, body, path="/test.Echo/Unary", **changes):
    """Make a call and return its answer."""
    await peer.send(peer.headers(stream_id, request_headers(path, **changes)), peer.data(stream_id, body, end=True))
    return await peer.response(stream_id)


@pytest.mark.parametrize(
    ("body", "encoding", "status", "text"),
    [
        (message(GZIP, flag=1), None, "13", "without a grpc-encoding"),
        (message(GZIP, flag=1), "identity", "13", "without a grpc-encoding"),
        (message(GZIP, flag=1), "deflate", "13", "not in the deflate format"),
        (message(GZIP[:-5], flag=1), "gzip", "13", "cut short"),
        (message(GZIP * 2, flag=1), "gzip", "13", "followed by other bytes"),
        (message(zlib.compress(bytes(9_000_000), 9, 31), flag=1), "gzip", "8", "limit of 4194304 bytes after"),
        (message(TEXT), "snappy", "12", "'snappy' is not supported"),
    ],
)
@pytest.mark.parametrize("path", ["/test.Echo/Unary", "/test.Echo/Count", "/test.Echo/Sum", "/test.Echo/Chat"])
async def test_broken_requests(path, body, encoding, status, text):
    """The fault is the status of the call whatever its kind, and the connection serves the next one."""
    async with raw_client() as (server, peer):
        _, _, trailers = await call(peer, 1, body, path, grpc_encoding=encoding)
        assert trailers["grpc-status"] == status
        assert text in trailers["grpc-message"]
        if status == "12":
            assert trailers["grpc-accept-encoding"] == "identity,gzip,deflate"
        assert (await call(peer, 3, message(b"x")))[1] == message(b"x")
        await assert_no_leaks(server)


async def test_an_algorithm_that_is_switched_off():
    """UNIMPLEMENTED like an unknown one, naming what is left; the other is served."""
    async with raw_client(settings=ServerSettings(accept_compression=("deflate",))) as (_, peer):
        _, _, trailers = await call(peer, 1, message(GZIP, flag=1), grpc_encoding="gzip")
        assert (trailers["grpc-status"], trailers["grpc-accept-encoding"]) == ("12", "identity,deflate")
        deflated = message(zlib.compress(TEXT), flag=1)
        headers, body, _ = await call(peer, 3, deflated, grpc_encoding="deflate")
        assert body == message(TEXT)
        assert headers["grpc-accept-encoding"] == "identity,deflate"


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [(None, None), ("identity", None), ("deflate", None), ("deflate, gzip", "gzip"), ("gzip", "gzip")],
)
async def test_the_response_headers_tell(accept, encoding):
    """grpc-encoding and the flag only when the client accepts the server's algorithm."""
    async with raw_client(settings=ServerSettings(compression="gzip")) as (_, peer):
        headers, body, trailers = await call(peer, 1, message(TEXT), grpc_accept_encoding=accept)
        assert headers.get("grpc-encoding") == encoding
        assert trailers == {"grpc-status": "0"}
        assert body[0] == (encoding is not None)
        assert (zlib.decompress(body[5:], 31) if encoding else body[5:]) == TEXT


async def test_a_message_nobody_takes_is_not_inflated():
    """A handler that ends without reading answers OK, though the request holds no gzip data."""

    class Deaf(Echo):
        async def chat(self, stream):
            await stream.send_message(b"no thanks")

    async with raw_client(Deaf()) as (server, peer):
        body = message(b"not gzip", flag=1)
        answer = await call(peer, 1, body, "/test.Echo/Chat", grpc_encoding="gzip")
        assert answer[1:] == (message(b"no thanks"), {"grpc-status": "0"})
        await assert_no_leaks(server)
