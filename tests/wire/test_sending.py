"""What is sent when: turns, coalescing, high water (design: "round robin over streams that have data and window")."""

import gc
from collections import Counter

import pytest

import rawframes as raw
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import MessagesReceived, TrailersReceived
from orbit_net.wire.stream import Stream
from wirepair import REQUEST, RESPONSE, TRAILERS, Pair


def wide(**settings):
    """Return a client whose peer allows everything: 100 streams, and windows that do not matter here."""
    client = Connection(client=True, settings=WireSettings(**settings))
    client.receive_data(raw.settings((4, 2**30)) + raw.window_update(0, 2**30))
    client.data_to_send()
    return client


def data_frames(client, budget=65_536):
    """Return ``(stream_id, size)`` of the DATA frames that one take gives."""
    return [
        (stream_id, len(payload)) for _, _, stream_id, payload in raw.of_kind(client.data_to_send(budget), raw.DATA)
    ]


def test_streams_take_turns_frame_by_frame():
    """Of many streams with much data each gets one frame a round, whatever their order or size."""
    client = wide()
    streams = [client.open_stream(REQUEST) for _ in range(10)]
    for number, stream_id in enumerate(streams):
        client.send_message(stream_id, bytes(200_000 + number))
    frames = data_frames(client, 5 * 10 * 16_384)
    assert [stream_id for stream_id, _ in frames] == streams * 5
    assert {size for _, size in frames} == {16_384}


def test_a_small_message_passes_a_large_one_after_one_frame():
    """A message of megabytes on one stream delays another stream by a frame at most."""
    client = wide()
    large, small = client.open_stream(REQUEST), client.open_stream(REQUEST)
    client.send_message(large, bytes(4_000_000))
    data_frames(client)
    client.send_message(small, b"urgent")
    assert (small, 11) in data_frames(client)[:2]


def test_small_messages_share_frames():
    """A thousand small messages of one stream travel in a few frames, not in a thousand."""
    pair = Pair()
    stream_id = pair.open(*[b"%04d" % number for number in range(1_000)], end=True)
    sent = pair.client.wire.data_to_send()
    frames = raw.of_kind(sent, raw.DATA)
    assert len(frames) == 1
    assert frames[0][1] == raw.END_STREAM
    pair.server.take(pair.server.wire.receive_data(sent))
    [event] = pair.server.of(MessagesReceived)
    assert event.stream_id == stream_id
    assert event.messages == [b"%04d" % number for number in range(1_000)]


def test_messages_of_many_streams_share_one_write():
    """What a hundred streams have to say leaves with one take."""
    client = wide()
    for _ in range(100):
        client.send_message(client.open_stream(REQUEST), b"hello", end=True)
    sent = raw.split(client.data_to_send())
    assert Counter(kind for kind, *_ in sent) == {raw.HEADERS: 100, raw.DATA: 100}
    assert not client.wants_write


def test_a_take_is_bounded():
    """One take gives about its budget, so control frames wait for no more than that."""
    client = wide()
    stream_id = client.open_stream(REQUEST)
    client.send_message(stream_id, bytes(2_000_000))
    client.data_to_send()
    taken = client.data_to_send(65_536)
    assert 65_536 <= len(taken) <= 65_536 + 16_384 + 5 * 9
    client.receive_data(raw.ping())
    assert raw.split(client.data_to_send())[0][0] == raw.PING


def test_frames_are_no_larger_than_the_peer_allows_or_we_do():
    """The peer's MAX_FRAME_SIZE bounds our frames; ours does too, so that turns stay short (RFC 9113 §4.2)."""
    for ours, theirs, size in ((16_384, 2**20, 16_384), (2**20, 2**20, 2**20), (2**20, 16_384, 16_384)):
        client = wide(max_frame_size=ours)
        client.receive_data(raw.settings((5, theirs)))
        client.send_message(client.open_stream(REQUEST), bytes(3_000_000))
        assert {payload for _, payload in data_frames(client, 2_000_000)} == {size}


def test_the_connection_window_is_shared_in_turns():
    """When the connection's window opens a little, the streams that wait share it; an end needs none of it."""
    client = Connection(client=True)
    client.receive_data(raw.settings((4, 2**30)))
    first, second, third = (client.open_stream(REQUEST) for _ in range(3))
    client.send_message(first, bytes(100_000))
    client.send_message(second, bytes(100_000))
    sent = sum(size for _, size in data_frames(client, 10**6))
    assert sent == 65_535
    client.send_end(third)
    assert raw.split(client.data_to_send()) == [(raw.DATA, raw.END_STREAM, third, b"")]
    client.receive_data(raw.window_update(0, 32_768))
    assert data_frames(client) == [(first, 16_384), (second, 16_384)] or data_frames(client)
    client.receive_data(raw.window_update(0, 10))
    assert sum(size for _, size in data_frames(client)) == 10


def test_a_stream_without_window_holds_up_nobody():
    """A stream whose own window is closed leaves its turn to the others and returns when it opens."""
    client = Connection(client=True)
    client.receive_data(raw.settings() + raw.window_update(0, 2**20))
    blocked, free = client.open_stream(REQUEST), client.open_stream(REQUEST)
    client.send_message(blocked, bytes(65_530))
    data_frames(client, 10**6)
    client.send_message(blocked, b"wait")
    client.send_message(free, b"go")
    assert data_frames(client) == [(free, 7)]
    client.receive_data(raw.window_update(blocked, 4))
    assert data_frames(client) == [(blocked, 4)]
    client.receive_data(raw.window_update(blocked, 100))
    assert data_frames(client) == [(blocked, 5)]


def streams_alive():
    """Count the streams that something still refers to."""
    gc.collect()
    return sum(isinstance(thing, Stream) for thing in gc.get_objects())


def test_streams_that_were_reset_while_they_wait_for_window_are_forgotten():
    """Calls that are cancelled while the connection's window is closed leave nothing behind."""
    client = Connection(client=True)
    client.receive_data(raw.settings())
    first = client.open_stream(REQUEST)
    client.send_message(first, bytes(65_530))
    client.data_to_send(10**6)
    before = streams_alive()
    for _ in range(500):
        stream_id = client.open_stream(REQUEST)
        client.send_message(stream_id, b"never sent")
        client.data_to_send()
        client.reset_stream(stream_id, raw.CANCEL)
        client.release(stream_id)
    client.data_to_send()
    assert client.outbox.data_size == 0
    assert not client.wants_write
    assert streams_alive() == before


def test_streams_that_waited_for_window_are_forgotten_when_they_are_done():
    """A stream that waited has its turn once the window opens, and leaves the row for good."""
    client = Connection(client=True)
    client.receive_data(raw.settings())
    before = streams_alive()
    streams = [client.open_stream(REQUEST) for _ in range(10)]
    for stream_id in streams:
        client.send_message(stream_id, bytes(20_000), end=True)
    while client.data_to_send():
        pass
    client.receive_data(raw.window_update(0, 10**6))
    sent = sum(size for _, size in data_frames(client, 10**6))
    assert sent == 10 * 20_005 - 65_535
    for stream_id in streams:
        client.receive_data(raw.headers(stream_id, raw.RESPONSE + raw.TRAILERS, end=True))
        client.release(stream_id)
    assert streams_alive() == before
    assert not client.wants_write


def test_queued_messages_keep_a_high_water_mark():
    """``send_message`` says when to wait; a watched stream is named once when half of the mark is left."""
    client = wide(send_high_water=100_000)
    stream_id = client.open_stream(REQUEST)
    assert client.send_message(stream_id, bytes(100_000 - 5))
    assert not client.watch(stream_id)
    assert not client.send_message(stream_id, b"")
    assert client.watch(stream_id)
    assert client.take_drained() == []
    client.data_to_send(16_384)
    assert client.take_drained() == []
    client.data_to_send(49_000)
    assert client.take_drained() == [stream_id]
    client.data_to_send()
    assert client.take_drained() == []


def test_a_watched_stream_is_named_once_however_many_turns_it_takes():
    """One take may give several frames of a watched stream; it is named once."""
    client = wide(send_high_water=200_000)
    stream_id = client.open_stream(REQUEST)
    client.send_message(stream_id, bytes(300_000))
    assert client.watch(stream_id)
    client.data_to_send(10**6)
    assert client.take_drained() == [stream_id]


@pytest.mark.parametrize("end", ["reset", "peer reset", "goaway", "release", "eof", "error"])
def test_a_watched_stream_that_ends_is_named(end):
    """Whoever waits for room is woken when the stream ends instead."""
    client = wide()
    stream_id = client.open_stream(REQUEST)
    client.send_message(stream_id, bytes(100_000))
    assert client.watch(stream_id)
    match end:
        case "reset":
            client.reset_stream(stream_id, raw.CANCEL)
        case "peer reset":
            client.receive_data(raw.reset(stream_id))
        case "goaway":
            client.receive_data(raw.goaway(0))
        case "release":
            client.release(stream_id)
        case "eof":
            client.receive_eof()
        case "error":
            client.receive_data(raw.window_update(0, 0))
    assert client.take_drained() == [stream_id]
    assert client.take_drained() == []
    assert client.outbox.data_size == 0
    assert not client.watch(stream_id)
    assert not raw.of_kind(client.data_to_send(), raw.DATA)


def test_trailers_wait_for_the_messages_before_them():
    """Headers, messages and trailers leave in this order, also when the window holds the messages."""
    pair = Pair(client=WireSettings(stream_window=65_535))
    stream_id = pair.open(end=True)
    pair.pump()
    pair.answer(stream_id, bytes(70_000), b"last")
    pair.pump()
    assert not pair.client.of(TrailersReceived)
    pair.client.wire.expect_message(stream_id)
    pair.pump()
    pair.client.consume()
    pair.pump()
    assert type(pair.client.events[-1]) is TrailersReceived


def test_trailers_ride_in_the_same_write_as_the_message_before_them():
    """A unary answer is one write: headers, message, trailers."""
    pair = Pair()
    stream_id = pair.open(b"request", end=True)
    pair.pump()
    pair.answer(stream_id, b"reply")
    kinds = [kind for kind, *_ in raw.split(pair.server.wire.data_to_send())]
    assert kinds == [raw.HEADERS, raw.DATA, raw.HEADERS]
    assert not pair.server.wire.wants_write


def test_a_unary_request_is_one_write_and_ends_with_its_message():
    """Headers, then DATA with END_STREAM: no empty frame after it."""
    client = wide()
    stream_id = client.open_stream(REQUEST)
    client.send_message(stream_id, b"request", end=True)
    frames = raw.split(client.data_to_send())
    assert [(kind, flags) for kind, flags, *_ in frames] == [
        (raw.HEADERS, raw.END_HEADERS),
        (raw.DATA, raw.END_STREAM),
    ]


def test_a_half_close_with_nothing_left_is_an_empty_frame():
    """The end of a request whose messages have left is empty DATA with END_STREAM (PROTOCOL-HTTP2, "EOS")."""
    client = wide()
    stream_id = client.open_stream(REQUEST)
    client.send_message(stream_id, b"request")
    client.data_to_send()
    client.send_end(stream_id)
    assert raw.split(client.data_to_send()) == [(raw.DATA, raw.END_STREAM, stream_id, b"")]


def test_the_hello_is_there_from_the_start():
    """A client's preface and SETTINGS, and the enlarged connection window, are queued when it is made."""
    client, server = Connection(client=True), Connection(client=False)
    assert client.wants_write
    assert server.wants_write
    hello = client.data_to_send()
    assert hello.startswith(raw.PREFACE)
    assert [kind for kind, *_ in raw.split(hello)] == [raw.SETTINGS, raw.WINDOW_UPDATE]
    assert raw.increments(hello, 0) == 4_194_304 - 65_535
    assert [kind for kind, *_ in raw.split(server.data_to_send())] == [raw.SETTINGS, raw.WINDOW_UPDATE]
    exact = Connection(client=False, settings=WireSettings(connection_window=65_535))
    assert [kind for kind, *_ in raw.split(exact.data_to_send())] == [raw.SETTINGS]


def test_what_is_abandoned_is_not_sent():
    """After a reset neither queued messages nor trailers of that stream leave."""
    pair = Pair()
    stream_id = pair.open(b"request")
    pair.pump()
    pair.server.wire.send_headers(stream_id, RESPONSE)
    pair.server.wire.send_message(stream_id, bytes(50_000))
    pair.server.wire.send_trailers(stream_id, TRAILERS)
    pair.server.wire.reset_stream(stream_id, raw.INTERNAL_ERROR)
    kinds = [kind for kind, *_ in raw.split(pair.server.wire.data_to_send())]
    assert kinds == [raw.HEADERS, raw.RST_STREAM]
