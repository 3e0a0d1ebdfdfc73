"""Each abuse that an advisory names, against a server in a process of its own: it ends as written, and costs little.

Every test: less than a second of the server's CPU, less than 16 MiB of its memory, and a client on another connection
is served all the while.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import hpack
import pytest
from grpclib.const import Cardinality
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from echo import RawCodec
from orbit_net.client import Channel
from orbit_net.errors import RpcError
from orbit_net.status import Status
from rawpeer import PREFACE, RawPeer, message, request_headers

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

CPU_SECONDS, MEMORY = 1.0, 16 * 1024 * 1024
HONEST_CALLS = 40
CALM = ErrorCodes.ENHANCE_YOUR_CALM


class Victim:
    """The process, its target, and what it has used."""

    def __init__(self, backend):
        command = [sys.executable, str(Path(__file__).with_name("victim.py")), backend]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(json.loads(self._process.stdout.readline()).rpartition(":")[2])
        self.target = f"127.0.0.1:{self.port}"

    async def usage(self):
        """Return CPU seconds so far, and the peak of memory since the last question."""
        return await anyio.to_thread.run_sync(self._usage)

    def _usage(self):
        self._process.stdin.write("usage\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.stdout.close()


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def victim(request):
    """A server under attack, on either event loop; the attackers run on one."""
    victim = Victim(request.param)
    yield victim
    victim.close()


@pytest.fixture
def anyio_backend():
    """The event loop of the attackers makes no difference."""
    return "asyncio"


async def honest_client(victim, done):
    """Make calls one after the other, some of them after the attack is over; none may fail."""
    async with Channel(victim.target, codec=RawCodec()) as channel:
        made = 0
        while made < HONEST_CALLS or not done.is_set():
            async with channel.request("/v.V/Echo", Cardinality.UNARY_UNARY, bytes, bytes, timeout=10) as call:
                await call.send_message(b"hello", end=True)
                assert await call.recv_message() == b"hello"
            made += 1
            await anyio.sleep(0.002)  # the CPU that is measured should be the attacker's


@asynccontextmanager
async def under_attack(victim):
    """Measure what the server uses during the block, and serve an honest client meanwhile."""
    await victim.usage()
    cpu, before = await victim.usage()
    done = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(honest_client, victim, done)
        yield
        done.set()
    after, memory = await victim.usage()
    assert after - cpu < CPU_SECONDS, f"{after - cpu:.2f} s of CPU"
    assert memory - before < MEMORY, f"{(memory - before) / 2**20:.1f} MiB"


@asynccontextmanager
async def attacker(victim, *, preface=True, host="127.0.0.2"):
    """Give a raw connection from another address than the honest client's."""
    stream = await anyio.connect_tcp("127.0.0.1", victim.port, local_host=host)
    async with stream:
        peer = RawPeer(stream)
        if preface:
            await stream.send(PREFACE + SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize())
        yield peer


async def flood(peer, chunks):
    """Send ``chunks`` until the server has had enough, reading meanwhile; return the frames that came."""
    frames = []

    async def read():
        try:
            while True:
                frames.append(await peer.frame())
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            tasks.cancel_scope.cancel()

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            try:
                for chunk in chunks:
                    await peer.stream.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            await anyio.sleep_forever()  # until the server closes
    return frames


def goodbye(frames):
    """Return the error code of the last GOAWAY."""
    codes = [frame.error_code for frame in frames if isinstance(frame, GoAwayFrame)]
    assert codes, f"no GOAWAY among {frames[-5:]}"
    return codes[-1]


def resets(frames):
    """Return the error codes of the streams that were reset."""
    return [frame.error_code for frame in frames if isinstance(frame, RstStreamFrame)]


def chunks_of(frames, size=500):
    """Join frames, some hundred in one write."""
    chunk = []
    for frame in frames:
        chunk.append(frame if isinstance(frame, bytes) else frame.serialize())
        if len(chunk) == size:
            yield b"".join(chunk)
            chunk = []
    yield b"".join(chunk)


def opened(path="/v.V/Chat", *, end=False, streams=100_000):
    """Give (stream id, HEADERS) for one stream after the other; the header block is always the same."""
    block = hpack.Encoder()
    block.header_table_size = 0
    data = block.encode(request_headers(path))
    plain = hpack.Encoder()
    plain.header_table_size = 0
    rest = plain.encode(request_headers(path))
    for number in range(streams):
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        yield 2 * number + 1, HeadersFrame(2 * number + 1, data if not number else rest, flags=flags)
        data = rest


# --- streams that are opened for nothing -----------------------------------------------------------


async def test_rapid_reset(victim):
    """CVE-2023-44487: streams opened and reset at once."""
    async with under_attack(victim), attacker(victim) as peer:
        frames = (frame for id_, headers in opened() for frame in (headers, RstStreamFrame(id_, error_code=8)))
        assert goodbye(await flood(peer, chunks_of(frames))) == CALM


@pytest.mark.parametrize("how", ["window of zero", "window overflow", "data after the end"])
async def test_resets_that_the_server_is_made_to_send(victim, how):
    """CVE-2025-8671 (MadeYouReset): streams that are broken on purpose, so that the server resets them."""

    def frames():
        for id_, headers in opened(end=how == "data after the end"):
            yield headers
            if how == "window of zero":
                yield WindowUpdateFrame(id_, window_increment=1).serialize()[:-4] + bytes(4)
            elif how == "window overflow":
                yield WindowUpdateFrame(id_, window_increment=2**31 - 1)
            else:
                yield DataFrame(id_, b"x")

    async with under_attack(victim), attacker(victim) as peer:
        assert goodbye(await flood(peer, chunks_of(frames()))) in (CALM, ErrorCodes.STREAM_CLOSED)


# --- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16_000])
async def test_continuations_without_end(victim, size):
    """CVE-2024-27316: a header block that never ends, of empty, tiny and full frames."""

    def frames():
        yield HeadersFrame(1, b"\x82")
        while True:
            yield ContinuationFrame(1, b"\x82" * size)

    async with under_attack(victim), attacker(victim) as peer:
        assert goodbye(await flood(peer, chunks_of(frames(), 50))) in (CALM, ErrorCodes.PROTOCOL_ERROR)


async def test_a_header_block_that_is_never_finished(victim):
    """A header block has its time, however slowly its frames come."""
    async with under_attack(victim), attacker(victim) as peer:
        await flood(peer, [HeadersFrame(1, b"\x82").serialize()])


async def test_an_hpack_bomb(victim):
    """CVE-2016-6581: a block of references to one large table entry; small on the wire, huge when it is decoded."""
    entry = hpack.Encoder().encode([("x-bomb", "x" * 3_900)])

    def frames():
        for id_ in range(1, 2_001, 2):
            block = (entry if id_ == 1 else b"") + b"\xbe" * 8_000
            yield HeadersFrame(id_, block, flags=["END_HEADERS", "END_STREAM"])

    async with under_attack(victim), attacker(victim) as peer:
        frames = await flood(peer, chunks_of(frames(), 2))
        assert goodbye(frames) in (CALM, ErrorCodes.PROTOCOL_ERROR, ErrorCodes.COMPRESSION_ERROR)


INJECTED = [("a\r\nb", "c"), ("a", "b\r\nc: d"), ("a", "b\0c"), ("UPPER", "x"), ("a b", "c")]


async def test_injected_headers(victim):
    """CVE-2025-57804: names and values that would break lines end their stream, and reach no handler."""
    encoder = hpack.Encoder()
    frames = []
    for number, field in enumerate(INJECTED):
        block = encoder.encode([*request_headers("/v.V/Echo"), field])
        frames.append(HeadersFrame(2 * number + 1, block, flags=["END_HEADERS", "END_STREAM"]))
    async with under_attack(victim), attacker(victim) as peer:
        await peer.send(*frames)
        ended = []
        with anyio.fail_after(15):
            while len(ended) < len(INJECTED):
                frame = await peer.frame()
                if isinstance(frame, RstStreamFrame):
                    assert frame.error_code == ErrorCodes.PROTOCOL_ERROR
                    ended.append(frame.stream_id)
        assert sorted(ended) == [1, 3, 5, 7, 9]


# --- frames that do no work ------------------------------------------------------------------------

CONTROL = {
    "ping": PingFrame(0, b"12345678"),
    "settings": SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}),
    "priority": PriorityFrame(1, depends_on=3),
    "unknown": b"\0\0\x08\xfe\0" + bytes(4) + b"12345678",
    "tiny window updates": WindowUpdateFrame(0, window_increment=1),
}


@pytest.mark.parametrize("kind", CONTROL)
async def test_control_frames(victim, kind):
    """CVE-2019-9512, -9513, -9515 and RFC 9113 §6.9: frames of one kind without end."""
    frame = CONTROL[kind]
    chunk = (frame if isinstance(frame, bytes) else frame.serialize()) * 500
    async with under_attack(victim), attacker(victim) as peer:
        assert goodbye(await flood(peer, (chunk for _ in range(10_000)))) == CALM


@pytest.mark.parametrize("kind", ["ping", "settings"])
async def test_control_frames_of_one_who_does_not_read(victim, kind):
    """The answers to a flood are not kept for a peer that reads none of them."""
    chunk = CONTROL[kind].serialize() * 500
    async with under_attack(victim), attacker(victim) as peer:
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)), anyio.fail_after(15):
            while True:
                await peer.stream.send(chunk)


async def test_empty_data(victim):
    """CVE-2019-9518: DATA frames without data."""

    def frames():
        yield next(opened())[1]
        while True:
            yield DataFrame(1)

    async with under_attack(victim), attacker(victim) as peer:
        assert goodbye(await flood(peer, chunks_of(frames()))) == CALM


async def test_a_window_that_overflows(victim):
    """RFC 9113 §6.9.1: a connection window above 2^31-1 ends the connection with FLOW_CONTROL_ERROR."""
    async with under_attack(victim), attacker(victim) as peer:
        update = WindowUpdateFrame(0, window_increment=2**31 - 1).serialize()
        assert goodbye(await flood(peer, [update])) == ErrorCodes.FLOW_CONTROL_ERROR


# --- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, 1])
async def test_replies_that_nobody_reads(victim, window):
    """CVE-2019-9511, -9517: 100 calls for 1 MiB each with a window of nothing; after a time without progress, reset."""
    async with under_attack(victim), attacker(victim) as peer:
        await peer.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: window}))
        streams = [id_ for id_, _ in opened(streams=100)]
        frames = []
        for id_, headers in opened("/v.V/Large", streams=100):
            frames += [headers, DataFrame(id_, message(b""), flags=["END_STREAM"])]
        await peer.stream.send(b"".join(chunks_of(frames)))
        gone = set()
        with anyio.fail_after(15):
            while len(gone) < len(streams):
                frame = await peer.frame()
                if isinstance(frame, RstStreamFrame):
                    assert frame.error_code == CALM
                    gone.add(frame.stream_id)
                elif isinstance(frame, GoAwayFrame):
                    break


async def _answer_to(peer, path, *frames):
    """Send a request of ``frames`` and return the status of its trailers, or the error code of its reset."""
    encoder = hpack.Encoder()
    fields = [*request_headers(path), ("grpc-encoding", "gzip")]
    await peer.send(HeadersFrame(1, encoder.encode(fields), flags=["END_HEADERS"]))
    for frame in frames:
        await peer.stream.send(frame.serialize())
    with anyio.fail_after(15):
        while True:
            frame = await peer.frame()
            if isinstance(frame, HeadersFrame):
                status = dict(frame.fields).get("grpc-status")
                if status is not None:
                    return Status(int(status))
            elif isinstance(frame, (RstStreamFrame, GoAwayFrame)):
                return ErrorCodes(frame.error_code)


def data_frames(payload, *, flag=0):
    """Return the DATA frames of one message."""
    data = message(payload, flag=flag)
    pieces = [data[start : start + 16_384] for start in range(0, len(data), 16_384)]
    last = len(pieces) - 1
    return [DataFrame(1, piece, flags=["END_STREAM"] if n == last else []) for n, piece in enumerate(pieces)]


async def test_a_compressed_bomb(victim):
    """CVE-2024-37168: 200 kB that would be 200 MiB are refused while they are inflated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(200)) + squeeze.flush()
    async with under_attack(victim), attacker(victim) as peer:
        assert await _answer_to(peer, "/v.V/Echo", *data_frames(bomb, flag=1)) is Status.RESOURCE_EXHAUSTED


async def test_an_oversized_message(victim):
    """A message that says it is too large is refused at its first five bytes."""
    async with under_attack(victim), attacker(victim) as peer:
        frame = DataFrame(1, b"\0" + (2**32 - 1).to_bytes(4, "big"))
        assert await _answer_to(peer, "/v.V/Echo", frame) is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("kind", ["empty messages", "deep", "broken"])
async def test_hostile_protobuf(victim, kind):
    """CVE-2025-4565: messages that cost more to parse than to send; INTERNAL, at a linear cost."""
    data = {
        # routed_unicast_target.target, 100,001 times
        "empty messages": lambda: _wrap(3, _wrap(2, b"\x0a\x00" * 120_000)),
        "deep": lambda: b"\x1b" * 200_000,  # groups in groups
        "broken": lambda: _wrap(3, b"\xff" * 200_000),
    }[kind]()
    async with Channel(victim.target, codec=RawCodec()) as channel:
        async with under_attack(victim):
            for _ in range(3):
                with pytest.raises(RpcError) as caught:
                    async with channel.request("/v.V/Parse", Cardinality.UNARY_UNARY, bytes, bytes, timeout=10) as call:
                        await call.send_message(data, end=True)
                        await call.recv_message()
                assert caught.value.status is Status.INTERNAL


def _wrap(number, data):
    size, prefix = len(data), bytearray([number << 3 | 2])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes([*prefix, size]) + data


# --- connections -----------------------------------------------------------------------------------

SLOW = {
    "silent": b"",
    "half a preface": PREFACE[:10],
    "no settings": PREFACE,
    "half a settings frame": PREFACE + SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1}).serialize()[:12],
    "no acknowledgement": PREFACE + SettingsFrame(0).serialize(),
    "half a frame": PREFACE + SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize() + b"\0\0\x08",
}


@pytest.mark.parametrize("kind", SLOW)
async def test_slow_handshakes(victim, kind):
    """A connection that does not get on is closed after its time."""
    async with under_attack(victim):
        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(_wait_for_the_end, victim, SLOW[kind])


async def _wait_for_the_end(victim, sent):
    async with attacker(victim, preface=False) as peer:
        await peer.stream.send(sent)
        try:
            while True:
                await peer.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


async def test_many_connections(victim):
    """CVE-2023-4785: more connections than one address may have are closed at once, those of others are not."""
    open_ = []
    async with under_attack(victim):
        for _ in range(120):
            stream = await anyio.connect_tcp("127.0.0.1", victim.port, local_host="127.0.0.3")
            await stream.send(PREFACE + SettingsFrame(0).serialize())
            open_.append(stream)
        refused = 0
        with anyio.fail_after(15):
            for stream in open_:
                try:
                    await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    refused += 1
        assert refused == 20
        for stream in open_:
            await stream.aclose()
