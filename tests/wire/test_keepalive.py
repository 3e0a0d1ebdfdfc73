"""Keepalive and ping strikes on a virtual clock (gRFC A8, A9)."""

import pytest

import rawframes as raw
from orbit_net.errors import ConfigurationError, RemoteProtocolError
from orbit_net.wire import Connection, KeepaliveSettings, ServerKeepaliveSettings
from orbit_net.wire.keepalive import LEAST_TIME, MAX_STRIKES, Keepalive, KeepaliveAction, PingStrikes
from wirepair import RESPONSE

NEVER = float("inf")
HOUR = 3_600.0
NOTHING, PING, CLOSE = KeepaliveAction.NOTHING, KeepaliveAction.PING, KeepaliveAction.CLOSE


def test_the_clients_defaults():
    """Off; 20 s for the answer; only with calls (gRFC A8)."""
    settings = KeepaliveSettings()
    assert (settings.time, settings.timeout, settings.permit_without_calls) == (None, 20.0, False)
    assert settings.interval == NEVER


def test_the_servers_defaults():
    """Two hours and 20 s (gRFC A9); five minutes between pings, calls or not as the client's (A8)."""
    settings = ServerKeepaliveSettings()
    assert (settings.time, settings.timeout) == (2 * HOUR, 20.0)
    assert (settings.min_ping_interval, settings.permit_without_calls) == (300.0, False)
    assert ServerKeepaliveSettings(time=None).interval == NEVER


@pytest.mark.parametrize(("asked", "got"), [(0.5, 10.0), (10.0, 10.0), (10.5, 10.5)])
def test_a_client_waits_at_least_ten_seconds(asked, got):
    """A smaller time is raised to 10 s (gRFC A8)."""
    assert LEAST_TIME == 10.0
    assert KeepaliveSettings(time=asked).interval == got


@pytest.mark.parametrize("kind", [KeepaliveSettings, ServerKeepaliveSettings])
@pytest.mark.parametrize("name", ["time", "timeout", "tcp_time"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_times_are_positive(kind, name, value):
    """A time that is none is refused, and the text says which."""
    with pytest.raises(ConfigurationError, match=f"keepalive {name} is {value}"):
        kind(**{name: value})


def test_the_ping_interval_is_not_negative():
    """Zero permits any number of pings, less means nothing."""
    assert ServerKeepaliveSettings(min_ping_interval=0).min_ping_interval == 0
    with pytest.raises(ConfigurationError, match="min_ping_interval is -1"):
        ServerKeepaliveSettings(min_ping_interval=-1)


def test_a_ping_after_silence_and_the_end_without_an_answer():
    """Counted from the last byte read: a ping after ``interval``, the end ``timeout`` after that."""
    keepalive = Keepalive(30.0, 20.0, without_calls=False)
    assert keepalive.due(100.0, calls=True) == 130.0
    assert keepalive.act(129.9, 100.0, calls=True) is NOTHING
    assert keepalive.act(130.0, 100.0, calls=True) is PING
    assert keepalive.due(100.0, calls=True) == 150.0
    assert keepalive.act(149.9, 100.0, calls=True) is NOTHING
    assert keepalive.act(150.0, 100.0, calls=True) is CLOSE


def test_whatever_is_read_is_an_answer():
    """Any byte after the ping shows that the peer lives, and the silence begins anew."""
    keepalive = Keepalive(30.0, 20.0, without_calls=False)
    assert keepalive.act(130.0, 100.0, calls=True) is PING
    assert keepalive.due(131.0, calls=True) == 161.0
    assert keepalive.act(150.0, 131.0, calls=True) is NOTHING
    assert keepalive.act(161.0, 131.0, calls=True) is PING
    assert keepalive.act(181.0, 131.0, calls=True) is CLOSE


def test_bytes_read_put_the_ping_off():
    """A connection that is busy is never asked."""
    keepalive = Keepalive(10.0, 20.0, without_calls=False)
    assert {keepalive.act(now, now - 9.9, calls=True) for now in range(10, 1_000)} == {NOTHING}


def test_no_ping_without_calls_unless_permitted():
    """Without calls the clock stands; with the first call a ping that is overdue is sent at once."""
    keepalive = Keepalive(10.0, 20.0, without_calls=False)
    assert keepalive.due(0.0, calls=False) == NEVER
    assert keepalive.act(HOUR, 0.0, calls=False) is NOTHING
    assert keepalive.act(HOUR, 0.0, calls=True) is PING
    assert Keepalive(10.0, 20.0, without_calls=True).act(10.0, 0.0, calls=False) is PING


def test_a_ping_on_its_way_has_its_timeout_even_when_the_calls_end():
    """The answer is due whether or not somebody still waits."""
    keepalive = Keepalive(10.0, 20.0, without_calls=False)
    assert keepalive.act(10.0, 0.0, calls=True) is PING
    assert keepalive.act(30.0, 0.0, calls=False) is CLOSE


def test_off_is_off():
    """An infinite interval never pings."""
    keepalive = Keepalive(KeepaliveSettings().interval, 20.0, without_calls=True)
    assert keepalive.due(0.0, calls=True) == NEVER
    assert keepalive.act(1e12, 0.0, calls=True) is NOTHING


# --- strikes ---------------------------------------------------------------------------------------


def borne(strikes, interval, *, calls, answered=False):
    """Return how many pings, ``interval`` seconds apart, are borne; at most 1,000."""
    for count in range(1_000):
        try:
            strikes.ping(count * interval, calls=calls, answered=answered)
        except RemoteProtocolError:
            return count
    return 1_000


@pytest.mark.parametrize(
    ("interval", "calls", "count"),
    [
        (0.0, True, 1 + MAX_STRIKES),
        (299.9, True, 1 + MAX_STRIKES),
        (300.0, True, 1_000),
        (300.0, False, 1 + MAX_STRIKES),
        (7_199.0, False, 1 + MAX_STRIKES),
        (7_200.0, False, 1_000),
    ],
)
def test_more_than_two_strikes(interval, calls, count):
    """Pings sooner than five minutes, or two hours without calls, are strikes; the third ends the connection."""
    assert MAX_STRIKES == 2
    assert borne(PingStrikes(ServerKeepaliveSettings()), interval, calls=calls) == count


def test_pings_without_calls_can_be_permitted():
    """Then five minutes count for them too, or whatever is set."""
    settings = ServerKeepaliveSettings(permit_without_calls=True, min_ping_interval=10)
    assert borne(PingStrikes(settings), 10.0, calls=False) == 1_000
    assert borne(PingStrikes(settings), 9.0, calls=False) == 3


def test_what_was_sent_forgives():
    """Pings that follow headers or data of ours are no strikes, and take the older strikes away."""
    strikes = PingStrikes(ServerKeepaliveSettings())
    assert borne(strikes, 0.001, calls=True, answered=True) == 1_000
    for now in (1.0, 1.1):
        strikes.ping(now, calls=True, answered=False)
    assert strikes.strikes == 2
    strikes.ping(1.2, calls=True, answered=True)
    assert strikes.strikes == 0


# --- in the wire -----------------------------------------------------------------------------------


def strict_server():
    """Return a server that judges pings, after the hello of a client."""
    server = Connection(client=False, strikes=PingStrikes(ServerKeepaliveSettings()))
    server.tick(0.0)
    server.receive_data(raw.PREFACE + raw.settings() + raw.settings(ack=True))
    server.data_to_send()
    return server


def test_the_goaway_for_too_many_pings():
    """ENHANCE_YOUR_CALM with exactly the debug data that clients look for."""
    server = strict_server()
    server.receive_data(raw.headers(1) + 3 * raw.ping())
    assert server.failure is None
    server.receive_data(raw.ping())
    assert raw.goaways(server.data_to_send()) == [(1, raw.ENHANCE_YOUR_CALM, b"too_many_pings")]


def test_answers_to_the_servers_own_pings_are_no_pings():
    """A drain's or a keepalive's PING may be answered."""
    server = strict_server()
    for number in range(100):
        server.ping(b"%08d" % number)
        server.receive_data(raw.ping(b"%08d" % number, ack=True))
    assert server.failure is None


@pytest.mark.parametrize("what", ["headers", "data", "trailers"])
def test_headers_and_data_forgive(what):
    """Bandwidth probes of a client follow what we send it; a thousand of them do no harm (grpc-go, grpc core)."""
    server = strict_server()
    for number in range(300):
        stream_id = 2 * number + 1
        server.receive_data(raw.headers(stream_id, end=True))
        if what != "headers":
            server.send_headers(stream_id, RESPONSE)
            server.data_to_send()
            server.receive_data(raw.ping())
        if what == "headers":
            server.send_headers(stream_id, RESPONSE)
        elif what == "data":
            server.send_message(stream_id, b"x")
        else:
            server.send_trailers(stream_id, RESPONSE)
        server.data_to_send()
        server.receive_data(raw.ping())
        server.reset_stream(stream_id, raw.CANCEL)
        server.release(stream_id)
    assert server.failure is None


def test_data_of_the_client_forgives_nothing():
    """Only what the server sends can be measured by the client."""
    server = strict_server()
    server.receive_data(raw.headers(1))
    for _ in range(4):
        server.receive_data(raw.data(1, raw.message(b"x")) + raw.ping())
    assert server.failure is not None
