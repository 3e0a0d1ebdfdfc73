"""What honest busy peers do, by the thousand and with the clock standing still, trips no limit of abuse."""

from random import Random

import pytest

import rawframes as raw
from orbit_net.wire import FloodLimits, WireSettings
from wirepair import REQUEST, RESPONSE, TRAILERS_ONLY, Pair, assert_whole, started_client, started_server

pytestmark = pytest.mark.once

LIMITS = FloodLimits()


def test_a_client_that_uses_most_answers_may_abandon_some():
    """Every call that is answered allows one that is not: hedges and cancelled calls are honest."""
    connection = started_server()
    for number in range(0, 6_000, 2):
        served, dropped = 2 * number + 1, 2 * number + 3
        connection.receive_data(raw.headers(served, end=True) + raw.headers(dropped) + raw.reset(dropped))
        connection.send_trailers(served, TRAILERS_ONLY)
        connection.data_to_send()
        connection.release(served)
        connection.release(dropped)
    assert connection.failure is None


def test_resets_are_borne_at_twenty_a_second():
    """A client that cancels now and then is honest."""
    connection = started_server()
    for count in range(3_000):
        connection.tick(count / 20)
        connection.receive_data(raw.headers(2 * count + 1) + raw.reset(2 * count + 1))
        connection.release(2 * count + 1)
        connection.data_to_send()
    assert connection.failure is None


def test_a_server_that_resets_everything_is_no_flood():
    """Each call of a client may be reset once: that many are expected."""
    connection = started_client()
    for _ in range(5_000):
        stream_id = connection.open_stream(REQUEST)
        connection.data_to_send()
        connection.receive_data(raw.reset(stream_id, raw.REFUSED_STREAM))
        connection.release(stream_id)
    assert connection.failure is None


def test_late_answers_to_cancelled_calls_are_no_flood():
    """A client that gives up on many calls at once still gets their headers, trailers and resets."""
    connection = started_client()
    for _ in range(100):
        streams = [connection.open_stream(REQUEST) for _ in range(100)]
        for stream_id in streams:
            connection.release(stream_id)
        connection.data_to_send()
        for stream_id in streams:
            connection.receive_data(raw.headers(stream_id, raw.RESPONSE) + raw.data(stream_id, raw.message(b"late")))
            connection.receive_data(raw.headers(stream_id, raw.TRAILERS, end=True))
    assert connection.failure is None
    for _ in range(100):
        streams = [connection.open_stream(REQUEST) for _ in range(100)]
        for stream_id in streams:
            connection.release(stream_id)
        connection.data_to_send()
        for stream_id in streams:
            connection.receive_data(raw.headers(stream_id, raw.RESPONSE))
            connection.receive_data(raw.headers(stream_id, raw.TRAILERS, end=True))
    assert connection.failure is None
    connection.receive_data(raw.headers(1, raw.TRAILERS, end=True) * 2 * LIMITS.control)
    assert connection.failure is not None, "and not for ever"


def test_probes_of_bandwidth_are_no_flood():
    """gRPC peers send a PING with each burst of data to measure the line."""
    connection = started_server()
    connection.receive_data(raw.headers(1))
    for _ in range(20_000):
        connection.receive_data(raw.data(1, raw.message(b"x" * 100)) + raw.ping())
        connection.return_credit(1, 105)
        connection.data_to_send()
    assert connection.failure is None


@pytest.mark.parametrize("batch", [1, 100, 10_000])
def test_window_updates_for_what_we_sent_are_no_flood(batch):
    """A peer may return every message's credit on its own, for the stream and for the connection, however late."""
    connection = started_server()
    connection.receive_data(raw.settings((4, 2**24)) + raw.window_update(0, 2**24) + raw.headers(1) + raw.headers(3))
    for stream_id in (1, 3):
        connection.send_headers(stream_id, RESPONSE)
    for _ in range(30_000 // batch):
        for number in range(batch):
            connection.send_message(1 + number % 2 * 2, b"x")
            connection.data_to_send()
        for number in range(batch):
            connection.receive_data(raw.window_update(1 + number % 2 * 2, 6) + raw.window_update(0, 6))
    assert connection.failure is None


def test_a_hundred_half_closes_at_once_are_no_flood():
    """Every stream of a client may end with an empty frame, all of them in a row (PROTOCOL-HTTP2, "EOS")."""
    pair = Pair()
    for _ in range(50):
        streams = [pair.open(b"x") for _ in range(100)]
        pair.pump()
        for stream_id in streams:
            pair.client.wire.send_end(stream_id)
        pair.pump()
        for stream_id in streams:
            pair.answer(stream_id, b"reply")
        pair.pump()
        pair.finish()
        for end in pair.ends():
            assert end.wire.failure is None
            assert_whole(end)


def test_half_closes_that_cross_early_answers_are_no_flood():
    """Calls whose handlers do not read: their ends arrive when the streams are gone."""
    pair = Pair()
    for _ in range(100):
        streams = [pair.open(b"x") for _ in range(100)]
        pair.pump()
        for stream_id in streams:
            pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
            pair.client.wire.send_end(stream_id)
        answers = pair.server.wire.data_to_send()
        pair.server.release_all()
        pair.server.take(pair.server.wire.receive_data(pair.client.wire.data_to_send()))
        pair.client.take(pair.client.wire.receive_data(answers))
        pair.finish()
        for end in pair.ends():
            assert end.wire.failure is None
            end.events.clear()


def test_early_answers_that_are_answered_by_resets_are_no_flood():
    """A client that drops its request because the answer is complete may say so with RST_STREAM(NO_ERROR), each time,
    and a server that ended early says it too."""
    for crossing in (False, True):
        pair = Pair()
        for _ in range(3_000):
            stream_id = pair.open(b"x")
            pair.step()
            pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
            data = pair.server.wire.data_to_send()
            pair.server.wire.release(stream_id)
            if not crossing:
                data += pair.server.wire.data_to_send()
            pair.client.wire.receive_data(data)
            pair.client.wire.release(stream_id)
            pair.pump()
            pair.server.events.clear()
        for end in pair.ends():
            assert end.wire.failure is None, end.wire.failure
            assert_whole(end)


def test_a_busy_honest_pair_never_trips_a_limit():
    """Random busy traffic with the clock standing still: no bucket is refilled, none runs dry."""
    random = Random(9)
    pair = Pair(server=WireSettings(stream_window=65_535, connection_window=65_535))
    calls = 0
    while calls < 3_000:
        while len(pair.client.wire.streams) < 50:
            pair.open(*[bytes(random.choice((1, 10, 5_000)))] * random.randint(0, 3), end=random.random() < 0.5)
            calls += 1
        pair.pump(consume=True)
        pair.client.wire.ping(b"%08d" % calls)
        for stream_id, stream in list(pair.server.wire.streams.items()):
            if stream.send_phase == 0 and random.random() < 0.7:
                pair.answer(stream_id, bytes(random.randint(0, 3_000)))
        pair.pump(consume=True)
        for end in pair.ends():
            for stream_id, stream in list(end.wire.streams.items()):
                if stream.closed or (end is pair.client and stream.receive_phase == 2):
                    end.wire.release(stream_id)
            end.events.clear()
        pair.pump()
        assert pair.client.wire.failure is None
        assert pair.server.wire.failure is None
