"""What keeps windows from standing still: loans to whoever waits (design: credit is lent, and repaid first)."""

from random import Random

import pytest

import rawframes as raw
from orbit_net.wire import WireSettings
from wirepair import Pair, assert_balanced, assert_even

SMALL = WireSettings(stream_window=70_000, connection_window=100_000)


def test_an_unread_stream_never_blocks_one_that_is_read():
    """Streams that nobody reads fill the connection's window; the one that is waited for goes on (relieve)."""
    pair = Pair(server=SMALL)
    unread = [pair.open(b"u" * 60_000) for _ in range(10)]
    read = pair.open()
    pair.pump()
    assert pair.server.wire.window.available < 16_384
    total = 0
    for _ in range(30):
        pair.client.wire.send_message(read, b"r" * 30_000)
        pair.server.wire.expect_message(read)
        pair.pump()
        total += sum(map(len, pair.server.messages(read)))
        pair.server.consume(read)
    assert total == 30 * 30_000
    held = sum(
        pair.server.wire.streams[stream_id].unread for stream_id in unread if stream_id in pair.server.wire.streams
    )
    assert held <= 10 * 70_000
    pair.finish()
    assert_balanced(pair)


def test_a_reader_that_waited_before_the_flood_is_relieved_too():
    """Somebody waits already when unread streams use up the connection's window: more is lent as it runs dry."""
    pair = Pair(server=SMALL)
    read = pair.open()
    pair.pump()
    pair.server.wire.expect_message(read)
    for _ in range(10):
        pair.open(b"u" * 60_000)
    pair.pump()
    pair.client.wire.send_message(read, b"here I am")
    pair.pump()
    assert pair.server.messages(read) == [b"here I am"]


def test_the_loan_is_bounded_by_the_windows_of_the_streams():
    """However long somebody waits, the peer can make us hold no more than a stream window a stream."""
    pair = Pair(server=SMALL)
    waiting = pair.open()
    unread = [pair.open(b"u" * 500_000) for _ in range(20)]
    pair.pump()
    for _ in range(50):
        pair.server.wire.expect_message(waiting)
        pair.pump()
    assert sum(pair.server.wire.streams[stream_id].unread for stream_id in unread) <= 20 * 70_000
    pair.client.wire.send_message(waiting, b"here at last")
    pair.pump()
    assert pair.server.messages(waiting) == [b"here at last"]


def test_nothing_is_lent_for_a_message_that_nobody_waits_for():
    """Whoever has a message to take is not waiting: the next one, however large, stops at the window."""
    pair = Pair(server=WireSettings(stream_window=65_535, max_message=2**20))
    stream_id = pair.open()
    pair.pump()
    pair.server.wire.expect_message(stream_id)
    pair.client.wire.send_message(stream_id, b"first")
    pair.pump()
    pair.client.wire.send_message(stream_id, bytes(500_000))
    pair.pump()
    assert pair.server.messages(stream_id) == [b"first"]
    assert pair.server.wire.streams[stream_id].unread == 65_535
    pair.server.consume(stream_id)
    pair.pump()
    assert [len(message) for message in pair.server.messages(stream_id)] == [500_000]


def test_two_large_messages_that_are_waited_for_both_arrive():
    """Two messages larger than both windows share the connection, and both get their loans."""
    pair = Pair(server=WireSettings(stream_window=65_535, connection_window=65_535, max_message=2**20))
    streams = [pair.open(bytes((number,)) * 700_000) for number in range(2)]
    pair.pump()
    for stream_id in streams:
        pair.server.wire.expect_message(stream_id)
    pair.pump()
    assert [len(pair.server.messages(stream_id)[0]) for stream_id in streams] == [700_000] * 2
    pair.server.consume()
    pair.finish()
    assert_even(pair)


def test_a_loan_for_a_message_that_never_came_is_repaid_by_what_comes():
    """A reset inside a large message leaves the peer with more window for a while, never with less."""
    pair = Pair(server=WireSettings(stream_window=65_535, connection_window=65_535, max_message=2**20))
    stream_id = pair.open(b"x" * 500_000)
    pair.step()
    pair.server.wire.expect_message(stream_id)
    pair.client.wire.reset_stream(stream_id, raw.CANCEL)
    pair.pump()
    pair.finish()
    window = pair.server.wire.window
    assert window.available + window.owed == window.size + window.lent
    assert window.lent > 0
    other = pair.open()
    for _ in range(600):
        pair.client.wire.send_message(other, b"y" * 995)
        pair.pump(consume=True)
    pair.finish()
    assert_even(pair)


@pytest.mark.parametrize("window", [64, 100, 1_000])
def test_tiny_windows_stand_still_for_nothing(window):
    """Even a window of a few bytes carries messages of any size when somebody waits for them."""
    pair = Pair(server=WireSettings(stream_window=window), chunk=Random(3))
    stream_id = pair.open()
    pair.pump()
    random = Random(window)
    sent = [random.randbytes(random.choice((0, 1, 3, 50, 64, 100, 5_000))) for _ in range(200)]
    got = []
    for message in sent:
        pair.client.wire.send_message(stream_id, message)
    for _ in range(1_000):
        pair.server.wire.expect_message(stream_id)
        pair.pump()
        got += pair.server.messages(stream_id)
        pair.server.consume(stream_id)
        if len(got) == len(sent):
            break
    assert got == sent
