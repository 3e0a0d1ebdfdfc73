"""How streams end: resets, early answers, release, slots (RFC 9113 §5.1, §6.4, §8.1; CVE-2023-44487)."""

import pytest

import rawframes as raw
from orbit_net.errors import LocalProtocolError
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import (
    HeadersReceived,
    LateTrailers,
    MessagesReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
)
from wirepair import REQUEST, RESPONSE, TRAILERS_ONLY, Pair, assert_balanced, assert_whole, plain


def test_a_client_that_cancels_tells_the_server_why():
    """RST_STREAM carries the code of the caller, CANCEL and not NO_ERROR (grpclib sends 0)."""
    pair = Pair()
    stream_id = pair.open(b"request")
    pair.pump()
    pair.client.wire.reset_stream(stream_id, raw.CANCEL)
    pair.pump()
    assert pair.server.of(StreamReset) == [StreamReset(stream_id, raw.CANCEL)]
    assert pair.client.of(StreamReset) == []
    pair.finish()
    assert_whole(pair.client)
    assert_whole(pair.server)


def test_a_server_that_gives_up_tells_the_client_why():
    """A reset of the server arrives with its code, after what it had sent."""
    pair = Pair()
    stream_id = pair.open(b"request", end=True)
    pair.pump()
    pair.server.wire.send_headers(stream_id, RESPONSE)
    pair.server.wire.send_message(stream_id, b"partial")
    pair.pump()
    pair.server.wire.reset_stream(stream_id, raw.INTERNAL_ERROR)
    pair.pump()
    assert pair.client.messages(stream_id) == [b"partial"]
    assert pair.client.of(StreamReset) == [StreamReset(stream_id, raw.INTERNAL_ERROR)]


@pytest.mark.parametrize("awaited", [True, False])
def test_an_answer_that_crosses_the_reset(awaited):
    """The trailers of an abandoned call are reported once, if they are of interest, and nothing else of it."""
    pair = Pair()
    stream_id = pair.open(b"request", end=True)
    pair.pump()
    pair.answer(stream_id, b"reply")
    under_way = pair.server.wire.data_to_send()
    pair.client.wire.release(stream_id)
    if awaited:
        pair.client.wire.receiver.awaited.add(stream_id)
    pair.client.take(pair.client.wire.receive_data(under_way))
    late = pair.client.of(LateTrailers)
    assert [(event.stream_id, event.block.get(b"grpc-status")) for event in late] == (
        [(stream_id, b"0")] if awaited else []
    )
    assert not pair.client.wire.receiver.awaited
    assert not pair.client.of(HeadersReceived)
    assert not pair.client.of(TrailersReceived)
    pair.finish()
    assert_whole(pair.client)


def test_resets_that_cross_end_the_stream_once():
    """Both sides reset at the same time: no error, no second event, nothing left."""
    pair = Pair()
    stream_id = pair.open(b"request")
    pair.pump()
    for end in pair.ends():
        end.wire.reset_stream(stream_id, raw.CANCEL)
        end.wire.reset_stream(stream_id, raw.CANCEL)
    pair.pump()
    assert not pair.client.of(StreamReset)
    assert not pair.server.of(StreamReset)
    pair.finish()
    assert_whole(pair.client)
    assert_whole(pair.server)
    assert_balanced(pair)


def test_a_reset_of_a_stream_that_is_gone_is_nothing():
    """Resetting or releasing an unknown or closed stream has no effect and sends nothing."""
    pair = Pair()
    pair.client.wire.reset_stream(77, raw.CANCEL)
    pair.client.wire.release(77)
    stream_id = pair.open(end=True)
    pair.pump()
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    pair.pump()
    for end in pair.ends():
        end.wire.reset_stream(stream_id, raw.CANCEL)
        end.wire.release(stream_id)
        end.wire.release(stream_id)
        assert not end.wire.wants_write


def test_a_server_that_ends_early_sends_trailers_then_reset_no_error():
    """The client hears the status, and that the rest of its request is not needed (RFC 9113 §8.1)."""
    pair = Pair()
    stream_id = pair.open(b"request", bytes(500_000))
    pair.step()
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    sent = pair.server.wire.data_to_send() + pair.server.wire.data_to_send()
    kinds = [kind for kind, _, number, _ in raw.split(sent) if number == stream_id]
    assert kinds == [raw.HEADERS, raw.RST_STREAM]
    assert raw.resets(sent) == [(stream_id, raw.NO_ERROR)]
    pair.client.take(pair.client.wire.receive_data(sent))
    assert plain(pair.client.events)[1:] == [plain(pair.client.of(TrailersReceived))[0]]
    assert pair.client.wire.outbox.data_size == 0, "the rest of the request is not sent"
    pair.pump()
    assert not pair.server.of(StreamFailed)
    pair.finish()
    assert_whole(pair.client)
    assert_whole(pair.server)
    assert_balanced(pair)


def test_what_still_arrives_after_an_early_answer_is_dropped():
    """The request that was on its way does not disturb a stream that was answered, read or released."""
    for released in (False, True):
        pair = Pair()
        stream_id = pair.open(b"one")
        pair.pump()
        pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
        if released:
            pair.server.wire.release(stream_id)
        pair.server.wire.data_to_send()
        pair.client.wire.send_message(stream_id, b"two" * 20_000, end=True)
        before = len(pair.server.events)
        pair.server.take(pair.server.wire.receive_data(pair.client.wire.data_to_send()))
        assert pair.server.events[before:] == []
        assert raw.resets(pair.server.wire.data_to_send()) == [(stream_id, raw.NO_ERROR)]
        pair.server.wire.release(stream_id)
        window = pair.server.wire.window
        assert window.available + window.owed == window.size


def test_reset_no_error_after_a_complete_answer_is_no_failure():
    """RST_STREAM(NO_ERROR) behind the trailers says nothing new; before them it is a reset like any other."""
    client = Connection(client=True)
    first, second = client.open_stream(REQUEST), client.open_stream(REQUEST)
    events = client.receive_data(
        raw.settings() + raw.headers(first, raw.RESPONSE + raw.TRAILERS, end=True) + raw.reset(first, raw.NO_ERROR)
    )
    assert [type(event).__name__ for event in events] == ["SettingsReceived", "TrailersReceived"]
    events = client.receive_data(raw.headers(second, raw.RESPONSE) + raw.reset(second, raw.NO_ERROR))
    assert events[1:] == [StreamReset(second, raw.NO_ERROR)]


def test_a_client_that_releases_an_unfinished_call_cancels_it():
    """Leaving a call before its answer is CANCEL; leaving it after the answer, NO_ERROR."""
    pair = Pair()
    early, late = pair.open(b"1"), pair.open(b"2")
    pair.pump()
    pair.client.wire.release(early)
    pair.server.wire.send_trailers(late, TRAILERS_ONLY)
    pair.client.take(pair.client.wire.receive_data(pair.server.wire.data_to_send()))
    pair.client.wire.release(late)
    assert raw.resets(pair.client.wire.data_to_send()) == [(early, raw.CANCEL), (late, raw.NO_ERROR)]


@pytest.mark.parametrize("ended", [True, False])
def test_a_server_that_releases_without_an_answer_cancels(ended):
    """A server that leaves a call unanswered does not pretend that all is well."""
    pair = Pair()
    stream_id = pair.open(b"1", end=ended)
    pair.pump()
    pair.server.wire.release(stream_id)
    assert raw.resets(pair.server.wire.data_to_send()) == [(stream_id, raw.CANCEL)]


def test_an_answer_is_flushed_after_its_release():
    """A server may be done with a call whose reply still waits for window: all of it arrives."""
    pair = Pair(client=WireSettings(stream_window=65_535))
    stream_id = pair.open(b"request", end=True)
    pair.pump()
    pair.answer(stream_id, bytes(300_000))
    pair.server.wire.release(stream_id)
    assert stream_id in pair.server.wire.streams
    pair.client.wire.expect_message(stream_id)
    pair.pump()
    assert [len(message) for message in pair.client.messages(stream_id)] == [300_000]
    assert pair.client.of(TrailersReceived)
    assert pair.server.wire.streams == {}


def test_what_arrives_while_an_answer_is_flushed_is_dropped():
    """After its release nothing of a stream is reported, and its bytes go back to the connection at once."""
    pair = Pair(client=WireSettings(stream_window=65_535))
    stream_id = pair.open()
    pair.pump()
    pair.answer(stream_id, bytes(300_000))
    pair.server.wire.release(stream_id)
    pair.pump()
    before = len(pair.server.events)
    pair.client.wire.send_message(stream_id, bytes(1_000))
    pair.pump()
    assert pair.server.events[before:] == []
    window = pair.server.wire.window
    assert window.available + window.owed == window.size
    pair.client.wire.reset_stream(stream_id, raw.CANCEL)
    pair.pump()
    assert pair.server.events[before:] == []
    assert pair.server.wire.streams == {}


def test_messages_that_came_before_a_reset_can_still_be_taken():
    """A reset stream keeps its credit until it is released; then the connection has it all."""
    pair = Pair()
    stream_id = pair.open(b"x" * 1_000)
    pair.pump()
    pair.client.wire.reset_stream(stream_id, raw.CANCEL)
    pair.pump()
    assert pair.server.wire.streams[stream_id].unread == 1_005
    pair.server.consume(stream_id)
    assert pair.server.wire.streams[stream_id].unread == 0
    pair.finish()
    assert_whole(pair.server)


def test_a_stream_counts_until_its_handler_has_ended():
    """Streams that the peer has reset count until they are released: twice the limit may be alive (CVE-2023-44487)."""
    pair = Pair(server=WireSettings(max_concurrent_streams=3))
    for _ in range(6):
        stream_id = pair.open(b"x")
        pair.pump()
        pair.client.wire.reset_stream(stream_id, raw.CANCEL)
        pair.client.wire.release(stream_id)
    pair.pump()
    assert pair.server.wire.open_streams == 0
    assert len(pair.server.wire.streams) == 6
    refused = pair.open(b"x")
    pair.pump()
    assert pair.client.of(StreamReset) == [StreamReset(refused, raw.REFUSED_STREAM)]
    assert len(pair.server.of(HeadersReceived)) == 6
    pair.server.release_all()
    taken = pair.open(b"x")
    pair.pump()
    assert pair.server.of(HeadersReceived)[-1].stream_id == taken


def test_too_many_streams_are_refused_one_by_one():
    """Above MAX_CONCURRENT_STREAMS a stream gets REFUSED_STREAM; the others go on (RFC 9113 §5.1.2)."""
    server = Connection(client=False, settings=WireSettings(max_concurrent_streams=2))
    body = raw.message(b"hello")
    streams = b"".join(raw.headers(number) + raw.data(number, body, end=True) for number in (1, 3, 5, 7))
    events = server.receive_data(raw.PREFACE + raw.settings() + streams)
    assert [event.stream_id for event in events if isinstance(event, HeadersReceived)] == [1, 3]
    assert [event.stream_id for event in events if isinstance(event, MessagesReceived)] == [1, 3]
    assert raw.resets(server.data_to_send()) == [(5, raw.REFUSED_STREAM), (7, raw.REFUSED_STREAM)]
    assert server.window.available + server.window.owed == server.window.size - 20
    assert server.failure is None


def test_a_client_waits_for_a_slot():
    """The client assumes 100 streams until SETTINGS arrive, then what they say, none included."""
    client = Connection(client=True)
    streams = [client.open_stream(REQUEST) for _ in range(100)]
    assert not client.can_open
    with pytest.raises(LocalProtocolError):
        client.open_stream(REQUEST)
    client.receive_data(raw.settings())
    assert client.can_open, "no limit in SETTINGS is no limit (RFC 9113 §6.5.2)"
    client.receive_data(raw.settings((3, 50)))
    assert not client.can_open
    for stream_id in streams[:51]:
        client.reset_stream(stream_id, raw.CANCEL)
    assert client.can_open
    client.receive_data(raw.settings((3, 0)))
    assert not client.can_open


def test_a_stream_counts_until_both_sides_have_ended():
    """``open_streams`` is what the peer's MAX_CONCURRENT_STREAMS is about: open and half-closed ones."""
    pair = Pair()
    stream_id = pair.open(end=True)
    pair.pump()
    assert pair.client.wire.open_streams == pair.server.wire.open_streams == 1
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    assert pair.server.wire.open_streams == 1
    pair.pump()
    assert pair.client.wire.open_streams == pair.server.wire.open_streams == 0
    assert stream_id in pair.client.wire.streams, "until it is released"


def test_the_end_of_the_bytes_fails_what_is_open():
    """When the peer closes, each open stream fails once with UNAVAILABLE; what was complete stays so."""
    pair = Pair()
    done, half, open_ = pair.open(end=True), pair.open(end=True), pair.open(b"x")
    pair.pump()
    pair.server.wire.send_trailers(done, TRAILERS_ONLY)
    pair.server.wire.send_headers(half, RESPONSE)
    pair.pump()
    for end in pair.ends():
        failed = end.wire.receive_eof()
        assert [(event.stream_id, event.status.name) for event in failed] == [
            (half, "UNAVAILABLE"),
            (open_, "UNAVAILABLE"),
        ]
        assert "closed by the peer" in failed[0].reason
        assert end.wire.receive_eof() == []
        end.release_all()
        assert_whole(end)


def test_request_trailers_end_a_request():
    """HTTP/2 lets a request have trailers (RFC 9113 §8.1); gRPC has no use for them, and they are dropped."""
    server = Connection(client=False)
    events = server.receive_data(
        raw.PREFACE
        + raw.settings()
        + raw.headers(1)
        + raw.data(1, raw.message(b"x"))
        + raw.headers(1, [("x-checksum", "1")], end=True)
    )
    assert [type(event).__name__ for event in events[1:]] == ["HeadersReceived", "MessagesReceived", "StreamEnded"]


def test_a_body_without_trailers_is_reported_as_it_is():
    """What an HTTP server that knows no gRPC answers becomes headers and an end; the status is the caller's matter."""
    client = Connection(client=True)
    stream_id = client.open_stream(REQUEST)
    events = client.receive_data(
        raw.settings() + raw.headers(stream_id, [(":status", "502")]) + raw.data(stream_id, b"", end=True)
    )
    assert [type(event) for event in events[1:]] == [HeadersReceived, StreamEnded]
