"""Who may send how much: both windows of both directions (RFC 9113 §5.2, §6.9)."""

from random import Random

import pytest

import rawframes as raw
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import ConnectionFailed, StreamFailed
from wirepair import RESPONSE, TRAILERS, Pair, assert_balanced, assert_even

SMALL = WireSettings(stream_window=70_000, connection_window=100_000)


def test_credit_returns_when_the_application_takes_a_message_not_before():
    """Unread messages hold their bytes of both windows; taking them gives the bytes back."""
    pair = Pair(server=SMALL)
    stream_id = pair.open(*[b"x" * 995] * 60)
    pair.pump()
    stream, window = pair.server.wire.streams[stream_id], pair.server.wire.window
    assert stream.unread == 60_000
    assert stream.receive_window.available == 70_000 - 60_000
    assert window.available == 100_000 - 60_000
    pair.server.consume()
    pair.pump()
    assert stream.unread == 0
    assert stream.receive_window.available + stream.receive_window.owed == 70_000
    assert window.available + window.owed == 100_000
    assert_balanced(pair)


def test_credit_is_announced_in_halves():
    """One small message does not cost one WINDOW_UPDATE: they come when half of a window is owed."""
    pair = Pair(server=SMALL)
    stream_id = pair.open()
    pair.pump()
    updates = 0
    for _ in range(700):
        pair.client.wire.send_message(stream_id, b"x" * 995)
        pair.pump()
        pair.server.consume(stream_id)
        sent = pair.server.wire.data_to_send()
        updates += len(raw.of_kind(sent, raw.WINDOW_UPDATE))
        pair.client.take(pair.client.wire.receive_data(sent))
    assert 700_000 // 50_000 <= updates <= 2 * 700_000 // 35_000


def test_random_traffic_leaves_no_byte_behind():
    """After random calls in both directions are read and released, both ends have their whole windows."""
    random = Random(7)
    pair = Pair(client=SMALL, server=SMALL, chunk=random)
    for _ in range(30):
        streams = [pair.open() for _ in range(random.randint(1, 8))]
        pair.pump()
        for stream_id in streams:
            pair.server.wire.send_headers(stream_id, RESPONSE)
        for _ in range(20):
            for end in pair.ends():
                end.wire.send_message(random.choice(streams), bytes(random.choice((0, 10, 3_000, 90_000))))
            pair.pump(consume=random.random() < 0.5)
        for stream_id in streams:
            pair.client.wire.send_end(stream_id)
            pair.server.wire.send_trailers(stream_id, TRAILERS)
        pair.pump(consume=True)
        assert_balanced(pair)
        pair.finish()
        assert_even(pair)


def end_by_reset_from_client(pair, stream_id):
    pair.client.wire.reset_stream(stream_id, raw.CANCEL)


def end_by_reset_from_server(pair, stream_id):
    pair.server.wire.reset_stream(stream_id, raw.CANCEL)


def end_by_release_of_client(pair, stream_id):
    pair.client.wire.release(stream_id)


def end_by_release_of_server(pair, stream_id):
    pair.server.wire.release(stream_id)


def end_by_trailers(pair, stream_id):
    pair.server.wire.send_trailers(stream_id, TRAILERS)


def end_by_both(pair, stream_id):
    pair.client.wire.send_end(stream_id)
    pair.server.wire.send_trailers(stream_id, TRAILERS)


@pytest.mark.parametrize("pumped", [True, False], ids=["arrived", "on its way"])
@pytest.mark.parametrize(
    "end",
    [
        end_by_reset_from_client,
        end_by_reset_from_server,
        end_by_release_of_client,
        end_by_release_of_server,
        end_by_trailers,
        end_by_both,
    ],
)
def test_what_an_ended_stream_left_unread_returns_to_the_connection(end, pumped):
    """However a stream ends, with data unread, queued and on its way: release gives the connection all of it."""
    pair = Pair(client=SMALL, server=SMALL)
    for _ in range(20):
        stream_id = pair.open(b"x" * 10_000)
        pair.pump()
        pair.server.wire.send_headers(stream_id, RESPONSE)
        pair.server.wire.send_message(stream_id, b"y" * 10_000)
        pair.client.wire.send_message(stream_id, b"z" * 60_000)
        if pumped:
            pair.pump()
        end(pair, stream_id)
        pair.pump()
        pair.finish()
        assert_even(pair)


def test_twenty_thousand_calls_that_nobody_reads_do_not_stall():
    """Requests whose handlers never look at them cost no window (grpclib stalls after some 13,000)."""
    pair = Pair(client=SMALL, server=SMALL)
    for _ in range(20_000):
        stream_id = pair.open(b"ignored", end=True)
        pair.step()
        pair.server.wire.send_trailers(stream_id, RESPONSE)
        pair.server.wire.release(stream_id)
        pair.step()
        pair.client.wire.release(stream_id)
        pair.server.events.clear()
        pair.client.events.clear()
    pair.pump()
    assert_even(pair)


def test_settings_may_make_windows_negative_and_open_them_again():
    """A smaller SETTINGS_INITIAL_WINDOW_SIZE can make a stream's window negative; nothing is sent until it is positive
    again (RFC 9113 §6.9.2)."""
    client = Connection(client=True)
    stream_id = client.open_stream(RESPONSE)
    client.receive_data(raw.settings())
    client.send_message(stream_id, b"x" * 100_000)
    client.data_to_send(10**6)
    stream = client.streams[stream_id]
    assert stream.send_window == 0
    client.receive_data(raw.settings((4, 1_000)) + raw.window_update(0, 200_000))
    assert stream.send_window == 1_000 - 65_535
    client.receive_data(raw.window_update(stream_id, 64_535))
    assert stream.send_window == 0
    assert not raw.of_kind(client.data_to_send(), raw.DATA)
    client.receive_data(raw.window_update(stream_id, 10))
    [(_, _, _, payload)] = raw.of_kind(client.data_to_send(), raw.DATA)
    assert len(payload) == 10
    client.receive_data(raw.settings((4, 2_000)))
    [(_, _, _, payload)] = raw.of_kind(client.data_to_send(), raw.DATA)
    assert len(payload) == 1_000


def test_a_stream_may_end_while_its_window_is_negative():
    """An empty DATA frame with END_STREAM needs no window, and neither do trailers (RFC 9113 §6.9.1)."""
    client = Connection(client=True)
    stream_id = client.open_stream(RESPONSE)
    client.receive_data(raw.settings())
    client.send_message(stream_id, b"x" * (65_535 - 5))
    client.data_to_send(10**6)
    client.receive_data(raw.settings((4, 0)))
    client.send_end(stream_id)
    assert raw.of_kind(client.data_to_send(), raw.DATA) == [(raw.DATA, raw.END_STREAM, stream_id, b"")]


def test_a_window_smaller_than_the_default_counts_from_its_acknowledgement():
    """Until our SETTINGS are acknowledged the peer may use 65,535 bytes; then it is overdrawn, and may still end
    its stream with an empty frame (RFC 9113 §6.9.2, §6.9.1)."""
    server = Connection(client=False, settings=WireSettings(stream_window=1_000))
    server.receive_data(raw.PREFACE + raw.settings() + raw.headers(1) + raw.data(1, raw.message(b"x" * 10_000)))
    assert not server.failure
    server.receive_data(raw.settings(ack=True))
    stream = server.streams[1]
    assert stream.receive_window.available == 1_000 - 10_005
    events = server.receive_data(raw.data(1, b"", end=True))
    assert [type(event).__name__ for event in events] == ["StreamEnded"]
    server.return_credit(1, 10_005)
    assert server.window.available + server.window.owed == server.window.size


def test_an_overdrawn_window_recovers_as_the_application_reads():
    """After the acknowledgement the overdraft is paid by reading, and the announced sum is exact."""
    server = Connection(client=False, settings=WireSettings(stream_window=1_000))
    server.receive_data(raw.PREFACE + raw.settings() + raw.headers(1) + raw.data(1, raw.message(b"x" * 10_000)))
    server.receive_data(raw.settings(ack=True))
    server.data_to_send()
    server.return_credit(1, 10_005)
    assert raw.increments(server.data_to_send(), 1) == 10_005
    assert server.streams[1].receive_window.available == 1_000


def test_more_data_than_the_stream_window_resets_the_stream():
    """RFC 9113 §6.9.1: FLOW_CONTROL_ERROR on the stream; the connection gets its bytes back."""
    server = Connection(client=False, settings=WireSettings(stream_window=65_535))
    server.receive_data(raw.PREFACE + raw.settings() + raw.settings(ack=True) + raw.headers(1))
    body = raw.message(bytes(100_000))
    frames = b"".join(raw.data(1, body[start : start + 16_000]) for start in range(0, len(body), 16_000))
    events = server.receive_data(frames)
    [failed] = [event for event in events if isinstance(event, StreamFailed)]
    assert failed.reset
    sent = server.data_to_send()
    assert raw.resets(sent) == [(1, raw.FLOW_CONTROL_ERROR)]
    server.release(1)
    assert server.window.available + server.window.owed == server.window.size
    assert server.failure is None


def test_more_data_than_the_connection_window_ends_the_connection():
    """RFC 9113 §6.9.1: FLOW_CONTROL_ERROR for the connection."""
    server = Connection(client=False, settings=WireSettings(stream_window=2**20, connection_window=65_535))
    server.receive_data(raw.PREFACE + raw.settings() + raw.settings(ack=True) + raw.headers(1))
    events = server.receive_data(b"".join(raw.data(1, bytes(16_384)) for _ in range(5)))
    assert isinstance(events[-1], ConnectionFailed)
    assert raw.goaways(server.data_to_send())[0][:2] == (1, raw.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize("stream", ["open", "reset", "released", "unknown"])
def test_padding_returns_its_credit_at_once(stream):
    """Padding is flow-controlled (RFC 9113 §6.9.1) and nobody reads it: an all-padding frame costs no window."""
    server = Connection(client=False, settings=WireSettings(stream_window=65_535, connection_window=65_535))
    server.receive_data(raw.PREFACE + raw.settings() + raw.settings(ack=True) + raw.headers(1) + raw.headers(3))
    if stream == "reset":
        server.reset_stream(1, raw.CANCEL)
    elif stream != "open":
        server.reset_stream(1, raw.CANCEL)
        server.release(1)
    sent = 0
    for number in range(3_000):
        server.receive_data(raw.data(1, b"", pad=255) if number % 3 else raw.data(3, raw.message(b""), pad=10))
        sent += 256 if number % 3 else 0
        server.return_credit(3, 5)
    assert server.failure is None
    assert server.window.available + server.window.owed == server.window.size
    if stream == "open":
        window = server.streams[1].receive_window
        assert window.available + window.owed == window.size
        assert raw.increments(server.data_to_send(), 1) > sent - 65_535


def test_a_window_update_of_a_stream_that_is_gone_is_ignored():
    """WINDOW_UPDATE may arrive for a while after a stream has ended (RFC 9113 §5.1, closed)."""
    pair = Pair()
    stream_id = pair.open(b"x", end=True)
    pair.pump()
    pair.answer(stream_id)
    pair.pump()
    pair.finish()
    assert pair.client.wire.receive_data(raw.window_update(stream_id, 1_000)) == []
    assert pair.server.wire.receive_data(raw.window_update(stream_id, 0)) == []


def test_credit_for_more_than_is_held_changes_nothing():
    """Returning more bytes than a stream holds, or for a stream that is gone, gives the peer nothing extra."""
    pair = Pair(server=SMALL)
    stream_id = pair.open(b"12345")
    pair.pump()
    pair.server.wire.return_credit(stream_id, 10**9)
    pair.server.wire.return_credit(stream_id, 10**9)
    assert pair.server.wire.return_credit(99, 10**9) is False
    window = pair.server.wire.window
    assert window.available + window.owed == window.size
