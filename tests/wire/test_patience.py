"""Slow peers on a virtual clock: hellos, header blocks, acknowledgements, and readers that do not read."""

import pytest

import rawframes as raw
from orbit_net.errors import ConfigurationError
from orbit_net.status import Status
from orbit_net.wire import Connection, FloodLimits, PatienceSettings
from orbit_net.wire.events import ConnectionFailed, StreamFailed
from orbit_net.wire.patience import Patience
from wirepair import RESPONSE, started_server

SETTINGS = PatienceSettings()


def watched(connection=None, *, born=0.0):
    """Return a server and its watch."""
    connection = connection or started_server()
    return connection, Patience(connection, SETTINGS, born=born)


def failure_of(events):
    """Return the text of the connection's failure, or None."""
    return next((str(event.error) for event in events if isinstance(event, ConnectionFailed)), None)


def test_the_defaults():
    """10 s for hellos and header blocks, 20 s for acknowledgements, 60 s for readers."""
    assert PatienceSettings(handshake=10, frame=10, acknowledgement=20, stall=60) == SETTINGS


@pytest.mark.parametrize("name", ["handshake", "frame", "acknowledgement", "stall"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_times_are_positive(name, value):
    """A time that is none is refused, and the text says which."""
    with pytest.raises(ConfigurationError, match=f"{name} is {value}"):
        PatienceSettings(**{name: value})


HELLOS = {
    "nothing": b"",
    "half a preface": raw.PREFACE[:10],
    "a preface": raw.PREFACE,
    "half of SETTINGS": raw.PREFACE + raw.settings((4, 70_000))[:12],
}


@pytest.mark.parametrize("name", HELLOS)
def test_settings_come_within_ten_seconds(name):
    """Else the connection ends in peace, with a GOAWAY that says so."""
    connection, patience = watched(Connection(client=False), born=5.0)
    connection.tick(6.0)
    connection.receive_data(HELLOS[name])
    assert patience.due(6.0) == 15.0
    assert patience.check(14.9) == []
    assert failure_of(patience.check(15.0)) == "no SETTINGS within 10 s"
    assert raw.goaways(connection.data_to_send()) == [(0, raw.NO_ERROR, b"no SETTINGS within 10 s")]


def test_settings_are_acknowledged_within_twenty_seconds():
    """Else SETTINGS_TIMEOUT (RFC 9113 §6.5.3)."""
    connection, patience = watched(Connection(client=False))
    connection.receive_data(raw.PREFACE + raw.settings())
    assert patience.due(15.0) == 20.0
    assert patience.check(19.9) == []
    assert failure_of(patience.check(20.0)) == "SETTINGS were not acknowledged within 20 s"
    [(_, code, _)] = raw.goaways(connection.data_to_send())
    assert code == 4


UNFINISHED = {
    "a header block": (raw.headers(1, flags=0), raw.frame(raw.CONTINUATION, 0, 1, raw.block([("a", "b")]))),
    "HEADERS byte by byte": (raw.headers(1)[:12], b""),
    "a frame header": (raw.headers(1)[:5], b""),
    "SETTINGS": (raw.settings((4, 70_000))[:12], b""),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_frame_is_finished_within_ten_seconds(name):
    """A header block, CONTINUATION frames and all, and every frame but DATA; what comes meanwhile does not help."""
    connection, patience = watched()
    first, more = UNFINISHED[name]
    connection.tick(100.0)
    connection.receive_data(first)
    connection.tick(109.0)
    connection.receive_data(more)
    assert patience.due(109.0) == 110.0
    assert patience.check(109.9) == []
    assert failure_of(patience.check(110.0)) == "a frame or header block took more than 10 s"
    assert raw.goaways(connection.data_to_send())


def test_a_finished_frame_stops_the_clock():
    """The next one has ten seconds of its own; a chunk that ends in the middle of a frame is nothing unusual."""
    connection, patience = watched()
    frames = raw.headers(1, flags=0) + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1, b"") + raw.settings() * 50
    for position in range(len(frames)):
        now = 5.0 * position
        connection.tick(now)
        connection.receive_data(frames[position : position + 1])
        if connection.unfinished_since is None:
            assert patience.check(now) == []
    assert connection.unfinished_since is None
    assert patience.check(1e9) == []


def test_data_may_be_slow():
    """A large message on a slow line is bounded by the windows, not by the time."""
    connection, patience = watched()
    connection.receive_data(raw.headers(1) + raw.data(1, raw.message(bytes(1_000)))[:500])
    assert connection.unfinished_since is None
    assert patience.check(1e9) == []


def test_nothing_is_due_on_a_quiet_connection_but_a_look():
    """One look in ten seconds finds whatever began in time."""
    _, patience = watched()
    assert patience.check(1_000.0) == []
    assert patience.due(1_000.0) == 1_010.0


# --- readers ---------------------------------------------------------------------------------------


def blocked(count=1, *, connection=None):
    """Return a server with ``count`` replies that their client's zero windows hold back, and its watch."""
    connection = connection or Connection(client=False)
    connection.receive_data(raw.PREFACE + raw.settings((4, 0)) + raw.settings(ack=True))
    for number in range(count):
        reply(connection, 2 * number + 1)
    connection.data_to_send()
    return watched(connection)


def reply(connection, stream_id):
    """Answer a request with a message that no window lets through."""
    connection.receive_data(raw.headers(stream_id, end=True))
    connection.send_headers(stream_id, RESPONSE)
    connection.send_message(stream_id, b"x")


def test_a_stream_without_progress_is_reset():
    """60 s after the first look that found it (CVE-2019-9517): ENHANCE_YOUR_CALM, and the handler is told."""
    connection, patience = blocked(2)
    assert patience.check(100.0) == []
    assert patience.check(159.9) == []
    assert patience.due(159.9) == 160.0
    text = "the peer let nothing be sent for 60 s"
    assert patience.check(160.0) == [
        StreamFailed(stream_id, Status.RESOURCE_EXHAUSTED, text, reset=True) for stream_id in (1, 3)
    ]
    assert raw.resets(connection.data_to_send()) == [(1, raw.ENHANCE_YOUR_CALM), (3, raw.ENHANCE_YOUR_CALM)]
    assert connection.failure is None
    assert connection.outbox.data_size == 0


def test_progress_begins_the_time_anew():
    """A grant of a single byte is progress; the stream beside it has none."""
    connection, patience = blocked(2)
    patience.check(100.0)
    connection.receive_data(raw.window_update(1, 1))
    connection.data_to_send()
    assert patience.check(150.0) == []
    assert [event.stream_id for event in patience.check(160.0)] == [3]
    assert [event.stream_id for event in patience.check(210.0)] == [1]


def test_the_connections_window_counts_too():
    """A stream that only the connection's window holds back is blocked as well; opening it is progress."""
    connection = started_server()
    connection.receive_data(raw.headers(1) + raw.window_update(1, 2**20))
    connection.send_headers(1, RESPONSE)
    connection.send_message(1, bytes(100_000))
    connection.data_to_send(2**20)
    assert connection.outbox.window == 0
    connection, patience = watched(connection)
    patience.check(100.0)
    connection.receive_data(raw.window_update(0, 10))
    connection.data_to_send()
    assert patience.check(160.0) == []
    assert len(patience.check(220.0)) == 1


def test_a_stream_that_is_merely_quiet_stays():
    """Nothing to send is no fault of the peer."""
    connection, patience = watched()
    connection.receive_data(raw.headers(1) + raw.headers(3))
    connection.send_headers(3, RESPONSE)
    connection.send_message(3, b"x")
    connection.data_to_send()
    for now in range(0, 1_000, 10):
        assert patience.check(float(now)) == []


def test_a_stream_that_was_sent_meanwhile_is_forgotten():
    """A stream that is blocked again later has all its time again."""
    connection, patience = blocked()
    patience.check(100.0)
    connection.receive_data(raw.window_update(1, 1_000))
    connection.data_to_send()
    patience.check(110.0)
    connection.send_message(1, bytes(2_000))
    connection.data_to_send()
    assert patience.check(165.0) == []
    assert patience.check(224.0) == []
    assert len(patience.check(225.0)) == 1


def test_streams_that_had_to_be_reset_are_counted():
    """More of them than resets are borne end the connection, and every handler is told once."""
    _, patience = blocked(8, connection=Connection(client=False, limits=FloodLimits(resets=5)))
    patience.check(0.0)
    events = patience.check(60.0)
    assert sorted(event.stream_id for event in events if isinstance(event, StreamFailed)) == list(range(1, 17, 2))
    assert failure_of(events) == "flood: more than 5 streams were reset"
