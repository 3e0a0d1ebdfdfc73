"""What work costs grows with the work, and with nothing else (design §7: no step is quadratic)."""

from gc import collect, disable, enable
from time import process_time

import pytest

import rawframes as raw
from orbit_net.wire import Connection, HeaderTemplate, WireSettings
from orbit_net.wire.hpack import HeaderEncoder
from wirepair import REQUEST, RESPONSE, TRAILERS_ONLY, Pair, feed

pytestmark = pytest.mark.stress

WIDE = WireSettings(
    stream_window=2**24, connection_window=2**26, max_concurrent_streams=2**20, max_message=2**24, send_high_water=2**24
)
HELLO = raw.PREFACE + raw.settings((4, 2**30)) + raw.window_update(0, 2**30) + raw.settings(ack=True)


def seconds(work):
    """Return the CPU time of one call, the best of three."""
    best = 9.9
    for _ in range(3):
        todo = work()
        collect()
        disable()
        start = process_time()
        todo()
        best = min(best, process_time() - start)
        enable()
    return best


def assert_linear(work, small, factor=8):
    """Assert that ``factor`` times the work takes about that many times as long, not the square of it."""
    for _ in range(3):
        once = max(seconds(lambda: work(small)), 1e-4)
        many = seconds(lambda: work(small * factor))
        if many < once * factor * 2:
            return
    raise AssertionError(
        f"{once:.4f} s became {many:.4f} s, {many / once:.1f} times as much for {factor} times the work"
    )


def server():
    """Return a server that allows everything, after the hello."""
    connection = Connection(client=False, settings=WIDE)
    connection.receive_data(HELLO)
    connection.data_to_send()
    return connection


def message_in_bytes(size):
    connection = server()
    data = raw.headers(1) + raw.data(1, raw.message(bytes(size)))
    return lambda: feed(connection, data, 1)


def large_message_in_small_chunks(size):
    connection = server()
    body = raw.message(bytes(size))
    data = raw.headers(1) + b"".join(raw.data(1, body[at : at + 16_384]) for at in range(0, len(body), 16_384))
    return lambda: feed(connection, data, 7)


def large_message_in_frames_of_one_byte(size):
    connection = server()
    data = raw.headers(1) + b"".join(raw.data(1, bytes((byte,))) for byte in raw.message(bytes(size)))
    return lambda: feed(connection, data, 65_536)


def large_frame_byte_by_byte(size):
    connection = Connection(client=False, settings=WireSettings(max_frame_size=2**24 - 1))
    connection.receive_data(HELLO)
    data = raw.frame(0xEE, 0, 0, bytes(size))
    return lambda: feed(connection, data, 1)


def many_small_messages(count):
    connection = server()
    data = raw.headers(1) + b"".join(raw.data(1, raw.message(b"x" * 20)) for _ in range(count))

    def work():
        for event in feed(connection, data, 65_536)[1:]:
            for message in event.messages:
                connection.return_credit(1, len(message) + 5)

    return work


def messages_queued_and_sent(count):
    connection = server()
    connection.receive_data(raw.headers(1))
    connection.send_headers(1, RESPONSE)

    def work():
        for _ in range(count):
            connection.send_message(1, b"x" * 20)
        while connection.wants_write:
            connection.data_to_send()

    return work


def a_large_message_sent_through_a_tiny_window(size):
    connection = Connection(client=False)
    connection.receive_data(raw.PREFACE + raw.settings((4, 0)) + raw.headers(1))
    connection.send_headers(1, RESPONSE)
    connection.send_message(1, bytes(10 * size))
    updates = raw.window_update(1, 10) + raw.window_update(0, 10)

    def work():
        for _ in range(size):
            connection.receive_data(updates)
            connection.data_to_send()

    return work


def streams_one_after_the_other(count):
    connection = server()

    def work():
        for number in range(count):
            stream_id = 2 * number + 1
            connection.receive_data(raw.headers(stream_id) + raw.data(stream_id, raw.message(b"x"), end=True))
            connection.send_trailers(stream_id, TRAILERS_ONLY)
            connection.data_to_send()
            connection.release(stream_id)

    return work


def streams_open_at_once(count):
    connection = server()

    def work():
        for number in range(count):
            connection.receive_data(raw.headers(2 * number + 1) + raw.data(2 * number + 1, raw.message(b"x")))
            connection.expect_message(2 * number + 1)
        for number in range(count):
            connection.send_headers(2 * number + 1, RESPONSE)
            connection.send_message(2 * number + 1, b"y" * 10)
        while connection.wants_write:
            connection.data_to_send()

    return work


def different_header_blocks(count):
    connection = server()
    blocks = [raw.headers(2 * number + 1, [*raw.REQUEST, ("x", str(number))]) for number in range(count)]

    def work():
        for number, block in enumerate(blocks):
            connection.receive_data(block)
            connection.reset_stream(2 * number + 1, raw.CANCEL)
            connection.release(2 * number + 1)

    return work


def frames_for_streams_that_are_gone(count):
    connection = server()
    connection.receive_data(raw.headers(1))
    connection.reset_stream(1, raw.CANCEL)
    connection.release(1)
    data = raw.data(1, b"x") * count
    return lambda: feed(connection, data, 65_536)


@pytest.mark.parametrize(
    ("work", "small"),
    [
        (message_in_bytes, 2_000),
        (large_message_in_small_chunks, 20_000),
        (large_message_in_frames_of_one_byte, 4_000),
        (large_frame_byte_by_byte, 4_000),
        (many_small_messages, 2_000),
        (messages_queued_and_sent, 3_000),
        (a_large_message_sent_through_a_tiny_window, 1_000),
        (streams_one_after_the_other, 300),
        (streams_open_at_once, 300),
        (different_header_blocks, 300),
        (frames_for_streams_that_are_gone, 4_000),
    ],
)
def test_cost_is_linear(work, small):
    """Eight times the work takes eight times as long, give or take the noise of the machine."""
    assert_linear(work, small)


@pytest.mark.parametrize("waiting", [False, True])
def test_unread_streams_cost_the_others_nothing(waiting):
    """Thousands of open streams, the connection's window almost used up, and frames of one byte: no walk over all
    streams for each."""

    def work(count):
        connection = Connection(
            client=False,
            settings=WireSettings(stream_window=2**20, connection_window=65_535, max_concurrent_streams=2**20),
        )
        connection.receive_data(HELLO + raw.headers(1))
        for number in range(1, count):
            connection.receive_data(raw.headers(2 * number + 1))
        connection.receive_data(raw.data(1, b"\0\0\x0f\xff\xff") + raw.data(1, bytes(16_384)) * 3)
        if waiting:
            connection.expect_message(3)
        data = raw.data(5, b"\0") + raw.data(5, b"\0\x01\0\0") + raw.data(5, b"x") * 3_000
        return lambda: feed(connection, data, 65_536)

    few, many = seconds(lambda: work(4)), seconds(lambda: work(4_000))
    assert many < few * 5 + 0.005


def test_one_call_costs_the_same_after_ten_thousand_others():
    """Nothing piles up: the last thousand calls of a connection are as cheap as the first."""
    pair = Pair()

    def calls():
        def work():
            for _ in range(300):
                stream_id = pair.open(b"x" * 100, end=True)
                pair.step()
                pair.answer(stream_id, b"y" * 100)
                pair.step()
                for end in pair.ends():
                    end.wire.release(stream_id)
                    end.events.clear()

        return work

    first = seconds(calls)
    for _ in range(30):
        calls()()
    assert seconds(calls) < first * 2 + 0.01


def test_one_message_costs_the_same_beside_a_thousand_idle_streams():
    """Open streams that have nothing to say cost nothing."""

    def exchange(idle):
        pair = Pair(server=WireSettings(max_concurrent_streams=5_000))
        for _ in range(idle):
            pair.open()
        stream_id = pair.open()
        pair.pump()

        def work():
            for _ in range(500):
                pair.client.wire.send_message(stream_id, b"x")
                data = pair.client.wire.data_to_send()
                pair.server.wire.receive_data(data)
                pair.server.wire.return_credit(stream_id, 6)
                pair.server.wire.expect_message(stream_id)

        return work

    assert seconds(lambda: exchange(2_000)) < seconds(lambda: exchange(1)) * 2 + 0.01


def test_a_template_is_cheap_when_the_table_is_full():
    """Three hundred templates in turn: what was encoded once is remembered, so it costs less than a tenth."""
    templates = [HeaderTemplate([*REQUEST.fields, (b"x-%d" % number, b"v" * 50)]) for number in range(300)]

    def work(rounds):
        encoder = HeaderEncoder()

        def encode():
            for _ in range(rounds):
                for template in templates:
                    encoder.encode(template)

        return encode

    assert seconds(lambda: work(50)) < 5 * seconds(lambda: work(2))
