"""The driver's own initiative: keepalive, idleness, age, drains that nobody answers, and slow peers."""

import anyio
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame

from memory import memory_pair
from orbit_net.net import Connection, UpkeepSettings
from orbit_net.status import Status
from orbit_net.wire import (
    HeaderTemplate,
    KeepaliveSettings,
    LifeSettings,
    PatienceSettings,
    ServerKeepaliveSettings,
    WireSettings,
)
from rawpeer import RawPeer, request_headers
from settle import until

pytestmark = pytest.mark.anyio

REQUEST = HeaderTemplate([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"te", b"trailers")])
RESPONSE = HeaderTemplate([(b":status", b"200"), (b"content-type", b"application/grpc")])
SERVER = ServerKeepaliveSettings()


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr("orbit_net.wire.keepalive.LEAST_TIME", 0.01)


@pytest.fixture
async def link():
    """Make ``(connection, peer)`` pairs in a task group that is cancelled at the end."""
    peers = []
    with anyio.fail_after(16):
        async with anyio.create_task_group() as tasks:

            def make(*, client, **options):
                settings = options.pop("settings", None)
                ours, theirs = memory_pair()
                upkeep = UpkeepSettings(**options)
                connection = Connection(
                    ours, client=client, settings=settings, upkeep=upkeep, on_request=requests.append
                )
                tasks.start_soon(connection.run)
                peers.append(RawPeer(theirs))
                return connection, peers[-1]

            requests = []
            make.requests = requests
            yield make
            tasks.cancel_scope.cancel()
    for peer in peers:
        await peer.stream.aclose()


async def started(connection, peer):
    """Say hello as the other side."""
    if connection.wire.client:
        await peer.accept()
    else:
        await peer.begin()
    await peer.send(SettingsFrame(0, flags=["ACK"]))
    await until(lambda: connection.ready and connection.wire.settings_acknowledged)


async def next_ping(peer):
    """Return the next PING that is a question."""
    while True:
        frame = await peer.frame()
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            return frame


async def test_a_ping_without_an_answer_ends_the_connection(link):
    """Calls end with UNAVAILABLE and a text that begins with keepalive; the GOAWAY is flushed."""
    connection, peer = link(client=True, keepalive=KeepaliveSettings(time=0.01, timeout=0.05))
    await started(connection, peer)
    stream = connection.open_stream(REQUEST)
    await next_ping(peer)
    assert connection.wire.traffic.keepalives == 1
    await until(lambda: stream.failure is not None)
    assert stream.failure.status is Status.UNAVAILABLE
    assert stream.failure.message == "keepalive: the peer did not answer a ping within 0.05 s"
    assert str(connection.error) == stream.failure.message
    assert not connection.usable
    assert (await peer.read(GoAwayFrame)).additional_data == b"keepalive_timeout"
    stream.release()


async def test_an_answer_keeps_the_connection(link):
    """Ping after ping as long as they are answered."""
    connection, peer = link(client=True, keepalive=KeepaliveSettings(time=0.01, timeout=10.0))
    await started(connection, peer)
    stream = connection.open_stream(REQUEST)
    for _ in range(5):
        ping = await next_ping(peer)
        await peer.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
    assert connection.usable
    assert stream.failure is None
    stream.release()


async def test_no_ping_before_the_first_call(link):
    """Keepalive sleeps without calls, and a call wakes it at once, not at the next look."""
    connection, peer = link(client=True, keepalive=KeepaliveSettings(time=0.01, timeout=10.0))
    await started(connection, peer)
    await anyio.sleep(0.1)  # twice and more the time of a ping: that none comes can only be waited for
    assert not connection.wire.wants_write
    stream = connection.open_stream(REQUEST)
    with anyio.fail_after(5):  # the next look would come after ten seconds
        await next_ping(peer)
    assert not any(isinstance(frame, PingFrame) for frame in peer.seen[:-1])
    stream.release()


async def test_pings_without_calls_where_permitted(link):
    """A setting of the client."""
    connection, peer = link(client=True, keepalive=KeepaliveSettings(time=0.01, permit_without_calls=True))
    await started(connection, peer)
    await next_ping(peer)
    assert connection.open_streams == 0


async def test_a_server_asks_too(link):
    """With calls or without (gRFC A9)."""
    connection, peer = link(client=False, keepalive=ServerKeepaliveSettings(time=0.01, timeout=0.05))
    await started(connection, peer)
    await next_ping(peer)
    await connection.wait_closed()
    assert str(connection.error).startswith("keepalive: ")


async def test_an_idle_client_closes_in_peace(link):
    """GOAWAY with NO_ERROR, no error of the connection's own."""
    connection, peer = link(client=True, life=LifeSettings(max_idle=0.02))
    await started(connection, peer)
    goaway = await peer.read(GoAwayFrame)
    assert (goaway.error_code, goaway.additional_data) == (0, b"max_idle")
    await peer.stream.aclose()
    await connection.wait_closed()
    assert connection.error is None


async def test_a_client_with_calls_is_not_idle(link):
    """However long a call is silent; idleness begins with its end."""
    connection, peer = link(client=True, life=LifeSettings(max_idle=0.05))
    stream = connection.open_stream(REQUEST)
    await started(connection, peer)
    await anyio.sleep(0.2)  # four times the limit
    assert connection.usable
    stream.release()
    await peer.read(GoAwayFrame)
    assert not connection.usable


async def test_an_idle_server_drains(link):
    """Two steps, with the reason in the debug data of both, and then the end."""
    connection, peer = link(client=False, keepalive=SERVER, life=LifeSettings(max_idle=0.02))
    await started(connection, peer)
    first, last = await peer.read(GoAwayFrame), await peer.read(GoAwayFrame)
    assert (first.last_stream_id, first.additional_data) == (2**31 - 1, b"max_idle")
    assert (last.last_stream_id, last.additional_data) == (0, b"max_idle")
    await peer.until_closed()


async def test_idleness_of_a_server_begins_when_the_last_call_has_ended(link):
    """Not with its last byte read."""
    connection, peer = link(client=False, keepalive=SERVER, life=LifeSettings(max_idle=0.1))
    await started(connection, peer)
    await peer.send(peer.headers(1, request_headers(), end=True))
    await until(lambda: link.requests)
    await anyio.sleep(0.3)  # the handler's work: three times the limit
    assert connection.usable
    before = anyio.current_time()
    link.requests[0].send_trailers(RESPONSE)
    link.requests[0].release()
    await peer.read(GoAwayFrame)
    assert anyio.current_time() - before >= 0.1


async def test_an_old_connection_lets_its_calls_finish(link):
    """max_age: GOAWAY, the call goes on to its end, and then the connection closes."""
    connection, peer = link(client=False, keepalive=SERVER, life=LifeSettings(max_age=0.02))
    await started(connection, peer)
    await peer.send(peer.headers(1, request_headers(), end=True))
    assert (await peer.read(GoAwayFrame)).additional_data == b"max_age"
    assert (await peer.read(GoAwayFrame)).last_stream_id == 1
    [stream] = link.requests
    assert stream.failure is None
    stream.send_trailers(RESPONSE)
    stream.release()
    await peer.until_closed()
    assert connection.error is None


async def test_after_the_grace_the_rest_is_aborted(link):
    """age_grace: what is left fails with UNAVAILABLE."""
    connection, peer = link(client=False, keepalive=SERVER, life=LifeSettings(max_age=0.02, age_grace=0.05))
    await started(connection, peer)
    await peer.send(peer.headers(1, request_headers()))
    await peer.read(GoAwayFrame)
    assert (await peer.read(GoAwayFrame)).last_stream_id == 1
    [stream] = link.requests
    await until(lambda: stream.failure is not None)
    assert not connection.lives
    assert stream.failure.status is Status.UNAVAILABLE
    assert stream.failure.message == "the connection reached its maximum age"
    stream.release()


async def test_a_drain_ends_without_an_answer_to_its_ping(link, monkeypatch):
    """The client may be gone: the second GOAWAY follows anyway."""
    monkeypatch.setattr("orbit_net.net.upkeep._DRAIN_ANSWER", 0.05)
    connection, peer = link(client=False, keepalive=SERVER)
    await started(connection, peer)
    connection.drain()
    frames = await peer.until_closed()
    assert [frame.last_stream_id for frame in frames if isinstance(frame, GoAwayFrame)] == [2**31 - 1, 0]


async def test_a_peer_that_says_nothing(link):
    """The hello has its time, and the GOAWAY is flushed before closing."""
    connection, peer = link(client=False, keepalive=SERVER, patience=PatienceSettings(handshake=0.05))
    frames = await peer.until_closed()
    assert frames[-1].additional_data == b"no SETTINGS within 0.05 s"
    assert str(connection.error) == "no SETTINGS within 0.05 s"


async def test_settings_without_an_acknowledgement(link):
    """SETTINGS_TIMEOUT."""
    _, peer = link(client=False, keepalive=SERVER, patience=PatienceSettings(acknowledgement=0.05))
    await peer.begin()
    assert (await peer.read(GoAwayFrame)).error_code == 4
    await peer.until_closed()


async def test_a_header_block_without_an_end(link):
    """Found although nothing more arrives."""
    connection, peer = link(client=False, keepalive=SERVER, patience=PatienceSettings(frame=0.05))
    await started(connection, peer)
    frame = peer.headers(1, request_headers())
    frame.flags.discard("END_HEADERS")
    await peer.send(frame)
    assert b"header block" in (await peer.read(GoAwayFrame)).additional_data
    await peer.until_closed()


async def test_a_reader_that_does_not_read(link):
    """Its stream is reset, the one beside it goes on."""
    patience = PatienceSettings(stall=0.05)
    _, peer = link(client=False, keepalive=SERVER, patience=patience)
    await peer.begin(INITIAL_WINDOW_SIZE=0)
    await peer.send(peer.headers(1, request_headers(), end=True), peer.headers(3, request_headers(), end=True))
    await peer.send(peer.window(3, 1_000))
    await until(lambda: len(link.requests) == 2)
    for stream in link.requests:
        stream.send_headers(RESPONSE)
        stream.send(b"hello")
    reset = await peer.read(RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (1, 11)
    first, second = link.requests
    assert first.failure.status is Status.RESOURCE_EXHAUSTED
    assert second.failure is None
    for stream in link.requests:
        stream.release()


async def test_the_window_adapts(link):
    """A probe rides on data that arrives, and its answer lets the windows grow."""
    settings = WireSettings(stream_window=65_535, connection_window=65_535)
    connection, peer = link(client=False, keepalive=SERVER, adaptive_window=True, settings=settings)
    await started(connection, peer)
    await peer.send(peer.headers(1, request_headers()))
    await until(lambda: link.requests)
    [stream] = link.requests

    async def upload():
        """Send what the windows allow; the handler reads all of it."""
        chunk = 16_379
        await peer.send(peer.data(1, b"\0" + chunk.to_bytes(4, "big") + bytes(chunk)))
        assert len(await stream.receive()) == chunk

    for _ in range(4):
        await upload()
    ping = await next_ping(peer)
    for _ in range(4):
        await upload()
    await peer.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
    await until(lambda: connection.wire.stream_window > 65_535)
    while True:
        frame = await peer.read(SettingsFrame)
        if frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, 0) > 65_535:
            break
    assert connection.wire.window.size == connection.wire.stream_window
    stream.release()


async def test_no_probe_unless_asked(link):
    """Off by default: megabytes arrive, and no PING leaves."""
    connection, peer = link(client=False, keepalive=SERVER)
    await started(connection, peer)
    await peer.send(peer.headers(1, request_headers()))
    await until(lambda: link.requests)
    [stream] = link.requests
    for _ in range(20):
        await peer.send(peer.data(1, b"\0\0\0\x3f\0" + bytes(0x3F00)))
        await stream.receive()
    await peer.send(PingFrame(0, b"sentinel"))
    while not isinstance(frame := await peer.frame(), PingFrame):
        pass
    assert frame.opaque_data == b"sentinel"
    stream.release()
