"""gzip and deflate between our ends and grpcio's, both ways, in all four kinds of call (compression.md)."""

from __future__ import annotations

import grpc
import pytest
from grpclib.const import Status

from echo import Echo
from grpcio_peer import GrpcioEcho, in_thread, our_client, our_server
from orbit_net.client import ChannelSettings
from orbit_net.errors import RpcError
from orbit_net.server import ServerSettings, current_call
from orbit_net.wire import compression
from orbit_net.wire.assembler import CompressedMessage

pytestmark = pytest.mark.anyio

TEXT = b"a text that repeats itself, " * 2_000
NUMBER = b"0" * 500 + b"21"
ALGORITHMS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
chosen = pytest.mark.parametrize("encoding", ALGORITHMS)


@pytest.fixture
def inflated(monkeypatch):
    """Return a list to which each message that we inflate adds the encoding."""
    seen = []
    inflate = compression.decompress

    def decompress(message, encoding, *rest):
        seen.append(encoding)
        return inflate(message, encoding, *rest)

    for module in ("client.receiving", "server.call"):
        monkeypatch.setattr(f"orbit_net.{module}.decompress", decompress)
    return seen


@pytest.fixture
def squeezed(monkeypatch):
    """Return a list to which each message that we send compressed adds the encoding."""
    seen = []
    compress = compression.compress

    def spy(message, encoding):
        sent = compress(message, encoding)
        if type(sent) is CompressedMessage:
            seen.append(encoding)
        return sent

    monkeypatch.setattr(compression, "compress", spy)
    return seen


class _Ours(Echo):
    """Remembers the encodings of requests, and answers with messages that compress."""

    def __init__(self):
        self.encodings = set()

    async def unary(self, request):
        self.encodings.add(current_call()._head.encoding)
        return request

    async def count(self, request):
        yield request
        yield b"small"

    async def sum(self, requests):
        return await super().sum(requests) + b" " * 500


class _Theirs(GrpcioEcho):
    """The same, compressed as ``compression`` says."""

    def __init__(self, compression=None):
        self.compression = compression

    def _choose(self, context):
        if self.compression is not None:
            context.set_compression(self.compression)

    def unary(self, request, context):
        self._choose(context)
        return request

    def count(self, request, context):
        self._choose(context)
        yield request
        yield b"small"

    def sum(self, requests, context):
        self._choose(context)
        return super().sum(requests, context) + b" " * 500

    def chat(self, requests, context):
        self._choose(context)
        yield from requests


def all_kinds_by_grpcio(stub, compression):
    """Call all four from a thread."""
    assert stub.unary(TEXT, compression=compression) == TEXT
    assert list(stub.count(TEXT, compression=compression)) == [TEXT, b"small"]
    assert stub.sum(iter([NUMBER, b"1", NUMBER]), compression=compression) == b"43" + b" " * 500
    assert list(stub.chat(iter([TEXT, b"", TEXT]), compression=compression)) == [TEXT, b"", TEXT]


async def all_kinds(stub, **options):
    """Call all four."""
    assert await stub.unary(TEXT, **options) == TEXT
    assert [reply async for reply in stub.count(TEXT, **options)] == [TEXT, b"small"]
    assert await stub.sum([NUMBER, b"1", NUMBER], **options) == b"43" + b" " * 500
    async with stub.chat(**options) as call:
        for message in (TEXT, b"", TEXT):
            await call.send_message(message)
            assert await call.recv_message() == message
        await call.end()
        assert await call.recv_message() is None


@chosen
async def test_grpcio_sends_compressed_requests(encoding, inflated):
    """Our server inflates what grpcio compresses: at least one message of each kind of call."""
    service = _Ours()
    async with our_server(service) as (_, stub):
        await in_thread(all_kinds_by_grpcio, stub, ALGORITHMS[encoding])
    assert service.encodings == {encoding}
    assert set(inflated) == {encoding}
    assert len(inflated) >= 6


@chosen
async def test_grpcio_reads_our_compressed_replies(encoding, inflated, squeezed):
    """grpcio inflates what our server compresses; its own requests stay plain."""
    async with our_server(_Ours(), settings=ServerSettings(compression=encoding)) as (_, stub):
        await in_thread(all_kinds_by_grpcio, stub, None)
    assert inflated == []
    assert squeezed == [encoding] * 5


@chosen
async def test_grpcio_reads_our_compressed_requests(encoding, inflated, squeezed):
    """A grpcio server inflates what our client compresses by the setting of its channel, or call by call."""
    async with our_client(_Theirs(), settings=ChannelSettings(compression=encoding)) as (_, stub):
        await all_kinds(stub)
        await all_kinds(stub, compression="identity")
    async with our_client(_Theirs()) as (_, stub):
        await all_kinds(stub, compression=encoding)
    assert inflated == []
    assert squeezed == [encoding] * 12


@chosen
async def test_grpcio_sends_compressed_replies(encoding, inflated):
    """Our client inflates what a grpcio server compresses."""
    async with our_client(_Theirs(ALGORITHMS[encoding])) as (_, stub):
        await all_kinds(stub)
    assert set(inflated) == {encoding}
    assert len(inflated) >= 5


@chosen
async def test_both_sides_compress(encoding, inflated):
    """Both directions at once, with different algorithms."""
    other = next(name for name in ALGORITHMS if name != encoding)
    async with our_client(_Theirs(ALGORITHMS[other]), settings=ChannelSettings(compression=encoding)) as (_, stub):
        await all_kinds(stub)
    assert set(inflated) == {other}


@chosen
async def test_replies_that_grow_too_large(encoding):
    """A reply above the limit after decompression is RESOURCE_EXHAUSTED, at grpcio too when we send it."""
    size = 5 * 2**20

    class Large(_Theirs):
        def unary(self, request, context):
            self._choose(context)
            return bytes(int(request))

    class OurLarge(Echo):
        async def unary(self, request):
            return bytes(int(request))

    async with our_client(Large(ALGORITHMS[encoding])) as (_, stub):
        with pytest.raises(RpcError, match="after decompression") as caught:
            await stub.unary(b"%d" % size)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await stub.unary(b"4194304") == bytes(4_194_304)
    async with our_server(OurLarge(), settings=ServerSettings(compression=encoding)) as (_, stub):
        with pytest.raises(grpc.RpcError) as theirs:
            await in_thread(stub.unary, b"%d" % size)
        assert theirs.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
