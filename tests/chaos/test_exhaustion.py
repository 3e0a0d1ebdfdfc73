"""What is left when nothing is left: no window, no reader, no descriptor, no stream; beside the floods by advisory."""

from pathlib import Path
from struct import pack

import anyio
import pytest
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from rawpeer import message, request_headers
from victims import Victim

pytestmark = [pytest.mark.anyio, pytest.mark.stress]


@pytest.fixture
def anyio_backend():
    """The attackers run on asyncio; it is the victim that runs on both."""
    return "asyncio"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def victim(request):
    """A server process for all attacks."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the cost of another process is read from Linux's /proc")
    started = Victim(request.param)
    yield started
    started.stop()


PROTOCOL_ERROR, CANCEL, CALM = 1, 8, 11
PLAIN = b"".join(
    b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    for name, value in request_headers()
)
"""A request in literals alone, which can be sent for ever."""


def frame(kind, flags, stream_id, payload=b""):
    """Return one frame, fast."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + pack(">I", stream_id) + payload


def headers(stream_id, *, end=False, block=PLAIN):
    """Return a request's HEADERS."""
    return frame(1, 5 if end else 4, stream_id, block)


def reset(stream_id):
    """Return RST_STREAM(CANCEL)."""
    return frame(3, 0, stream_id, pack(">I", CANCEL))


def window(stream_id, increment):
    """Return a WINDOW_UPDATE."""
    return frame(8, 0, stream_id, pack(">I", increment))


def streams(count, make, *, chunk=50):
    """Return a source of chunks: ``make(stream_id)`` for ``count`` new streams."""

    def data(peer):
        for first in range(0, count, chunk):
            yield b"".join(make(2 * number + 1) for number in range(first, first + chunk))

    return data


def repeated(data, count, *, first=b"", chunk=100):
    """Return a source of chunks: ``first``, then ``count`` times ``data``."""

    def source(peer):
        yield first
        for _ in range(count // chunk):
            yield data * chunk

    return source


def goodbye(frames):
    """Return code and debug data of the last GOAWAY, which must be there: it is flushed before closing."""
    found = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
    assert found, "the connection was closed without a GOAWAY"
    return found[-1].error_code, found[-1].additional_data


ENDINGS = {
    "resets of finished requests": (streams(20_000, lambda n: headers(n, end=True) + reset(n)), CALM),
    "more streams than allowed": (streams(20_000, headers), CALM),
    "answers to no ping": (repeated(frame(6, 1, 0, b"12345678"), 100_000), CALM),
    "large SETTINGS": (repeated(frame(4, 0, 0, pack(">HI", 3, 7) * 2_700), 1_000, chunk=1), CALM),
    "padded empty DATA": (repeated(frame(0, 8, 1, b"\x05" + bytes(5)), 100_000, first=headers(1)), CALM),
    "no HTTP/2 at all": (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_flood_ends_its_own_connection(victim, name):
    """GOAWAY with the right code, flushed; little CPU, little memory, and the other client is served."""
    data, code = ENDINGS[name]
    async with victim.watched():
        frames = await victim.attack(data, hello=name != "no HTTP/2 at all")
    assert goodbye(frames)[0] == code, goodbye(frames)


async def test_ping_strikes(victim):
    """The debug data of gRFC A8."""
    async with victim.watched():
        frames = await victim.attack(frame(6, 0, 0, b"12345678") * 10)
    assert goodbye(frames) == (CALM, b"too_many_pings")


# --- slow reading ----------------------------------------------------------------------------------


def ask_for_big(count):
    """Return ``count`` requests whose replies are a mebibyte each."""
    request = message(b"big")
    return b"".join(headers(2 * n + 1) + frame(0, 1, 2 * n + 1, request) for n in range(count))


async def test_windows_of_zero(victim):
    """A hundred replies of 1 MiB that may not be sent (CVE-2019-9517): their streams are reset, and counted."""
    async with victim.watched():
        peer = await victim.connect()
        async with peer.stream:
            await peer.begin(INITIAL_WINDOW_SIZE=0)
            await peer.send(SettingsFrame(0, flags=["ACK"]), ask_for_big(100))
            for _ in range(100):
                assert (await peer.read(RstStreamFrame)).error_code == CALM


async def test_a_client_that_stalls_again_and_again(victim):
    """More stalled streams than resets are borne end the connection."""

    def data(peer):
        yield frame(4, 0, 0, pack(">HI", 4, 0)) + frame(4, 1, 0)
        yield b"".join(headers(2 * n + 1) + frame(0, 1, 2 * n + 1, message(b"x")) for n in range(100))
        for round_ in range(1, 300):
            yield b"".join(headers(2 * n + 1) for n in range(100 * round_, 100 * round_ + 10))

    async with victim.watched():
        frames = await victim.attack(data)
    assert goodbye(frames)[0] == CALM


async def test_a_client_that_reads_nothing(victim):
    """Windows as wide as can be, and a socket that is never read (CVE-2019-9511): the connection ends."""
    async with victim.watched():
        peer = await victim.connect()
        async with peer.stream:
            await peer.begin(INITIAL_WINDOW_SIZE=2**31 - 1)
            await peer.send(SettingsFrame(0, flags=["ACK"]), window(0, 2**31 - 1 - 65_535), ask_for_big(100))
            while victim.sockets() > victim.quiet + 1:
                await anyio.sleep(0.05)  # another process: its sockets are the only sign


# --- many connections ------------------------------------------------------------------------------


async def test_many_connections_of_one_address(victim):
    """256 are taken, the rest is closed at once, and other addresses are served (CVE-2023-4785)."""
    peers, refused = [], 0
    async with victim.watched():
        for _ in range(300):
            peer = await victim.connect(host="127.0.0.2")
            peers.append(peer)
            await peer.begin()
        for peer in peers:
            try:
                await peer.frame()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                refused += 1
        for peer in peers:
            await peer.stream.aclose()
    assert refused == 300 - 256


async def test_connections_that_come_and_go(victim):
    """A thousand, one after the other."""
    async with victim.watched():
        for _ in range(1_000):
            await (await victim.connect()).stream.aclose()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_no_file_descriptor_is_left(backend):
    """With a limit of 64 descriptors: accepting pauses, the client that is there is served, and it goes on."""
    starved = Victim(backend, "64")
    try:
        peers = []
        async with starved.watched():
            peers += [await starved.connect(host="127.0.0.2") for _ in range(100)]
            await anyio.sleep(1.0)  # what is to be seen is that nothing is done in this time
            for peer in peers:
                await peer.stream.aclose()
        async with starved.watched():
            pass
    finally:
        starved.stop()
