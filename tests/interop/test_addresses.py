"""The ways to reach a server, with grpcio on either side."""

from __future__ import annotations

import socket

import grpc
import pytest
from grpclib.const import Status

from echo import EchoStub, RawCodec
from grpcio_peer import grpcio_client, in_thread, our_client, our_server
from orbit_net.client import Channel
from orbit_net.errors import RpcError

pytestmark = pytest.mark.anyio


def _has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


ADDRESSES = [
    "127.0.0.1:0",
    "localhost:0",
    pytest.param("[::1]:0", marks=pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")),
    "unix:{directory}/socket",
]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_our_server(address, tmp_path):
    """grpcio reaches our server by each kind of address that it listens on."""
    async with our_server(address=address.format(directory=tmp_path)) as (_, stub):
        assert await in_thread(stub.unary, b"hello") == b"hello"


@pytest.mark.parametrize("address", ADDRESSES)
async def test_grpcio_server(address, tmp_path):
    """We reach grpcio's server by each kind of address that it listens on."""
    async with our_client(address=address.format(directory=tmp_path)) as (_, stub):
        assert await stub.unary(b"hello") == b"hello"


@pytest.mark.parametrize("scheme", ["dns:///{}", "ipv4:{}", "http://{}"])
async def test_schemes(scheme):
    """Our channel takes a target in each of its forms."""
    async with our_client() as (_, stub):
        async with Channel(scheme.format(stub.channel.target), codec=RawCodec()) as channel:
            assert await EchoStub(channel).unary(b"hello") == b"hello"


async def test_dead_port(free_tcp_port):
    """A port that nobody listens on is UNAVAILABLE, for both clients, and at once."""
    target = f"127.0.0.1:{free_tcp_port}"
    async with Channel(target, codec=RawCodec()) as channel:
        with pytest.raises(RpcError) as caught:
            await EchoStub(channel).unary(b"")
        assert caught.value.status is Status.UNAVAILABLE
        assert target in caught.value.message
    async with grpcio_client(target) as stub:
        with pytest.raises(grpc.RpcError) as refused:
            await in_thread(stub.unary, b"")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_closed_server():
    """After our server has closed, grpcio's next call is UNAVAILABLE."""
    async with our_server() as (server, stub):
        assert await in_thread(stub.unary, b"hello") == b"hello"
        server.close()
        await server.wait_closed()
        with pytest.raises(grpc.RpcError) as caught:
            await in_thread(stub.unary, b"hello")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
