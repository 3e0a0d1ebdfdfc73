"""The driver of one connection: its life, its end, and who is told."""

import logging

import anyio
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame

from memory import memory_pair
from orbit_net.errors import ConnectionLost, InternalError, RemoteProtocolError
from orbit_net.net import Connection
from orbit_net.status import Status
from orbit_net.wire import FloodLimits, HeaderTemplate, WireSettings
from rawpeer import RawPeer, message, request_headers
from settle import turns, until

pytestmark = pytest.mark.anyio

REQUEST = HeaderTemplate([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"te", b"trailers")])
RESPONSE = HeaderTemplate([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = HeaderTemplate([(b"grpc-status", b"0")])


class Link:
    """A connection that runs, and the raw peer at its other end; ``changes`` counts what the owner was told."""

    def __init__(self, tasks, *, client, **options):
        ours, theirs = memory_pair()
        self.changes = 0
        self.connection = Connection(ours, client=client, on_change=self._change, **options)
        self.peer = RawPeer(theirs)
        self.ended = False
        tasks.start_soon(self._run)

    def _change(self):
        self.changes += 1

    async def _run(self):
        await self.connection.run()
        self.ended = True


@pytest.fixture
async def link():
    """Make links in a task group that is cancelled at the end."""
    links = []
    with anyio.fail_after(16):
        async with anyio.create_task_group() as tasks:

            def make(**options):
                links.append(Link(tasks, **options))
                return links[-1]

            yield make
            tasks.cancel_scope.cancel()
    for made in links:
        await made.peer.stream.aclose()


async def test_before_and_after_settings(link):
    """A connection is usable at once, ready when the peer's SETTINGS came, and its owner is told."""
    made = link(client=True)
    connection = made.connection
    assert (connection.usable, connection.ready, connection.can_open, connection.error) == (True, False, True, None)
    await made.peer.accept()
    await until(lambda: connection.ready)
    assert made.changes == 1


async def test_close_says_goodbye(link):
    """GOAWAY is flushed, open streams fail with the message, and run() returns when the peer has closed."""
    made = link(client=True)
    await made.peer.accept()
    await until(lambda: made.connection.ready)
    stream = made.connection.open_stream(REQUEST)
    made.connection.close("enough")
    made.connection.close("again")
    assert (stream.failure.status, stream.failure.message) == (Status.UNAVAILABLE, "enough")
    assert not made.connection.usable
    assert repr(made.connection) == "<Connection client local ending, 1 streams>"
    assert (await made.peer.read(GoAwayFrame)).error_code == 0
    await made.peer.stream.aclose()
    await until(lambda: made.ended)
    await made.connection.wait_closed()
    assert made.connection.closed
    assert made.connection.error is None
    stream.release()
    assert made.connection.open_streams == 0


async def test_a_peer_that_stays_after_goodbye(link):
    """The connection does not wait for ever for the peer to close: a second at most."""
    made = link(client=True)
    await made.peer.accept()
    await until(lambda: made.connection.ready)
    made.connection.close()
    with anyio.fail_after(10):
        await made.connection.wait_closed()


async def test_a_peer_that_reads_nothing(link, monkeypatch):
    """Neither does it wait for ever for its last bytes to leave."""
    monkeypatch.setattr("orbit_net.net.connection._FLUSH", 0.05)
    made = link(client=False)
    await made.peer.begin()
    await until(lambda: made.connection.ready)
    for number in range(100):
        made.connection.wire.ping(b"%08d" % number)
        made.connection.wake_writer()
        await turns(3)
    made.connection.close()
    with anyio.fail_after(10):
        await made.connection.wait_closed()


async def test_the_peer_closes(link):
    """ConnectionLost, and every stream fails with the same text."""
    made = link(client=True)
    await made.peer.accept()
    await until(lambda: made.connection.ready)
    streams = [made.connection.open_stream(REQUEST) for _ in range(3)]
    await until(lambda: made.connection.writer.idle and not made.connection.wire.wants_write)
    await made.peer.stream.aclose()
    await made.connection.wait_closed()
    assert isinstance(made.connection.error, ConnectionLost)
    assert str(made.connection.error) == "the connection was closed by the peer"
    assert {stream.failure.message for stream in streams} == {"the connection was closed by the peer"}
    assert {stream.failure.status for stream in streams} == {Status.UNAVAILABLE}


async def test_the_peer_breaks_the_protocol(link):
    """The error says how; the peer gets a GOAWAY with the code."""
    made = link(client=False)
    await made.peer.begin()
    await made.peer.send(made.peer.data(7, b"nowhere"))
    frames = await made.peer.until_closed()
    [goaway] = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
    assert goaway.error_code == 1
    assert isinstance(made.connection.error, RemoteProtocolError)
    assert "stream 7" in str(made.connection.error)


@pytest.mark.parametrize("error", [anyio.BrokenResourceError(), OSError(104, "Connection reset by peer")])
@pytest.mark.parametrize("method", ["send", "receive"])
async def test_errors_of_the_byte_stream(link, method, error, monkeypatch):
    """A failing read or write ends the connection with ConnectionLost, caused by the error, and nothing is raised."""

    async def fail(*arguments):
        raise error

    ours, theirs = memory_pair()
    connection = Connection(ours, client=True)
    monkeypatch.setattr(ours, method, fail)
    stream = connection.open_stream(REQUEST)
    await connection.run()
    assert isinstance(connection.error, ConnectionLost)
    assert connection.error.__cause__ is error
    assert ("writing" if method == "send" else "reading") in str(connection.error)
    assert stream.failure.status is Status.UNAVAILABLE
    await theirs.aclose()


async def test_a_defect_ends_only_the_connection(link, caplog):
    """An exception of our own code is logged, fails the open streams, and does not leave run()."""

    def broken(stream):
        raise ZeroDivisionError("our mistake")

    made = link(client=False, on_request=broken)
    await made.peer.begin()
    with caplog.at_level(logging.ERROR, "orbit_net.net"):
        await made.peer.send(made.peer.headers(1, request_headers(), end=True))
        await made.connection.wait_closed()
    assert isinstance(made.connection.error, InternalError)
    assert "our mistake" in caplog.text


async def test_cancelling_run():
    """The byte stream is closed and open streams fail with UNAVAILABLE; the cancellation goes on."""
    ours, theirs = memory_pair()
    connection = Connection(ours, client=True)
    stream = connection.open_stream(REQUEST)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connection.run()
    assert scope.cancelled_caught
    assert connection.closed
    assert stream.failure.status is Status.UNAVAILABLE
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        while True:
            await theirs.receive()
    await theirs.aclose()


async def test_drain_of_a_server(link):
    """Two GOAWAYs around a round trip; the open call ends, then the connection closes by itself."""
    streams = []
    made = link(client=False, on_request=streams.append)
    peer = made.peer
    await peer.begin()
    await peer.send(peer.headers(1, request_headers()))
    await until(lambda: streams)
    made.connection.drain()
    first = await peer.read(GoAwayFrame)
    assert (first.last_stream_id, first.error_code) == (2**31 - 1, 0)
    ping = await peer.frame()
    await peer.send(peer.headers(3, request_headers()), PingFrame(0, ping.opaque_data, flags=["ACK"]))
    second = await peer.read(GoAwayFrame)
    assert (second.last_stream_id, second.error_code) == (3, 0)
    assert len(streams) == 2
    for stream in streams:
        stream.send_headers(RESPONSE)
        stream.send_trailers(TRAILERS)
        stream.release()
    with anyio.fail_after(10):
        await peer.until_closed()
        await made.connection.wait_closed()
    assert made.connection.error is None


async def test_a_flood_that_is_not_read_stops_the_reader(link, monkeypatch):
    """A peer that pings and reads nothing: reading pauses, and the connection ends when that lasts too long."""
    monkeypatch.setattr("orbit_net.net.connection._STALL", 0.05)
    made = link(client=False, limits=FloodLimits(control=1_000_000, control_backlog=20_000))
    await made.peer.begin()
    ping = PingFrame(0, b"12345678").serialize() * 900
    with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
        while True:
            await made.peer.send(ping)
    with anyio.fail_after(10):
        await made.connection.wait_closed()
    assert made.connection.wire.outbox.control_size < 20_000 + 2 * 65_536
    assert "read nothing for" in str(made.connection.error)


async def test_a_flood_that_is_read_goes_on(link):
    """A peer that reads the answers is served, however small the backlog: every ping is answered."""
    made = link(client=False, limits=FloodLimits(control=1_000_000, control_backlog=1_000))
    await made.peer.begin()
    ping = PingFrame(0, b"12345678").serialize() * 900
    async with anyio.create_task_group() as tasks:

        async def send():
            for _ in range(10):
                await made.peer.send(ping)

        tasks.start_soon(send)
        for _ in range(10 * 900):
            assert "ACK" in (await made.peer.read(PingFrame)).flags
    assert made.connection.usable


async def test_more_streams_than_ids(link):
    """When the ids run out, the connection takes no more calls, tells its owner, and ends after the last call."""
    made = link(client=True)
    await made.peer.accept()
    await until(lambda: made.connection.ready)
    made.connection.wire.next_stream_id = 2**31 - 3
    first = made.connection.open_stream(REQUEST)
    assert made.connection.usable
    before = made.changes
    last = made.connection.open_stream(REQUEST)
    assert (last.id, made.connection.usable, made.connection.can_open) == (2**31 - 1, False, False)
    assert made.changes > before
    first.release()
    await turns(5)
    assert not made.connection.closed
    last.release()
    await made.peer.until_closed()


async def test_messages_and_credit(link):
    """What was taken is returned to both windows when half of them is owed; burst reads yield."""
    streams = []
    settings = WireSettings(stream_window=65_536, connection_window=65_536)
    made = link(client=False, on_request=streams.append, settings=settings)
    peer = made.peer
    await peer.begin()
    await peer.send(peer.headers(1, request_headers()))
    await peer.send(*[peer.data(1, message(b"x" * 10_000)) for _ in range(6)])
    await until(lambda: streams and len(streams[0].inbox) == 6)
    window = made.connection.wire.window
    assert (window.available, window.owed) == (65_536 - 6 * 10_005, 0)
    for _ in range(6):
        assert await streams[0].receive() == b"x" * 10_000
    assert window.available + window.owed == 65_536
    assert window.owed < 32_768
    assert repr(streams[0]) == "<net.Stream 1 open, 0 messages waiting>"
    streams[0].release()
    streams[0].release()
