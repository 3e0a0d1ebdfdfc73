"""Saying goodbye: GOAWAY, the two-step drain, and what may be sent again (RFC 9113 §6.8)."""

import rawframes as raw
from orbit_net.wire import Connection
from orbit_net.wire.events import (
    ConnectionFailed,
    GoAwayReceived,
    HeadersReceived,
    StreamFailed,
    TrailersReceived,
)
from wirepair import REQUEST, RESPONSE, TRAILERS, TRAILERS_ONLY, Pair, assert_whole

LAST = 2**31 - 1


def test_a_drain_takes_what_is_on_its_way_and_ends_when_all_is_done():
    """GOAWAY(2³¹−1), a ping round trip, GOAWAY(last id); then the open streams finish, and both ends are drained."""
    pair = Pair()
    before = pair.open(b"before", end=True)
    pair.pump()
    pair.server.wire.drain()
    crossing = pair.open(b"crossing", end=True)
    pair.pump()
    assert [event.last_stream_id for event in pair.client.of(GoAwayReceived)] == [LAST, crossing]
    assert [event.stream_id for event in pair.server.of(HeadersReceived)] == [before, crossing]
    assert not pair.client.wire.can_open
    assert not pair.client.of(StreamFailed)
    assert not pair.server.wire.drained
    assert not pair.client.wire.drained
    for stream_id in (before, crossing):
        pair.answer(stream_id, b"reply")
    pair.finish()
    assert len(pair.client.of(TrailersReceived)) == 2
    for end in pair.ends():
        assert end.wire.drained
        assert end.wire.failure is None
        assert_whole(end)


def test_the_first_goaway_of_a_drain_refuses_nobody():
    """Between the two steps streams are still taken: a client may not have heard of the first (RFC 9113 §6.8)."""
    server = Connection(client=False)
    server.receive_data(raw.PREFACE + raw.settings())
    server.data_to_send()
    server.drain()
    server.drain()
    sent = server.data_to_send()
    assert raw.goaways(sent) == [(LAST, raw.NO_ERROR, b"")]
    [(_, flags, _, opaque)] = raw.of_kind(sent, raw.PING)
    assert flags == 0
    events = server.receive_data(raw.headers(1))
    assert [type(event) for event in events] == [HeadersReceived]
    server.receive_data(raw.ping(b"another!", ack=True))
    assert raw.goaways(server.data_to_send()) == []
    server.receive_data(raw.ping(opaque, ack=True))
    assert raw.goaways(server.data_to_send()) == [(1, raw.NO_ERROR, b"")]
    assert server.receive_data(raw.headers(3) + raw.data(3, raw.message(b"x"), end=True)) == []
    assert not server.wants_write
    assert server.window.available == server.window.size - server.window.owed


def test_streams_above_the_last_id_were_never_processed():
    """They fail as such and may be sent again; those up to it go on to their end."""
    pair = Pair()
    processed = pair.open(b"1", end=True)
    pair.pump()
    pair.server.wire.goaway()
    lost = [pair.open(b"2"), pair.open(b"3", end=True)]
    pair.pump()
    failed = pair.client.of(StreamFailed)
    assert [(event.stream_id, event.unprocessed) for event in failed] == [(stream_id, True) for stream_id in lost]
    assert {event.status.name for event in failed} == {"UNAVAILABLE"}
    pair.answer(processed, b"reply")
    pair.pump()
    assert pair.client.messages(processed) == [b"reply"]
    pair.finish()
    for end in pair.ends():
        assert end.wire.drained
        assert_whole(end)
        assert end.wire.window.available + end.wire.window.owed == end.wire.window.size


def test_a_goaway_with_an_error_names_it():
    """Code and debug data come through, and open streams above its id fail."""
    client = Connection(client=True)
    stream_id = client.open_stream(REQUEST)
    events = client.receive_data(raw.settings() + raw.goaway(0, raw.ENHANCE_YOUR_CALM, b"too_many_pings"))
    assert events[1:] == [
        StreamFailed(
            stream_id, events[1].status, "the server went away before it saw the call", reset=False, unprocessed=True
        ),
        GoAwayReceived(0, raw.ENHANCE_YOUR_CALM, b"too_many_pings"),
    ]
    client.release(stream_id)
    assert client.drained


def test_several_goaways_may_lower_the_id_and_never_raise_it():
    """RFC 9113 §6.8: the last stream id MUST NOT increase."""
    client = Connection(client=True)
    streams = [client.open_stream(REQUEST) for _ in range(3)]
    client.receive_data(raw.settings() + raw.goaway(LAST) + raw.goaway(3))
    assert sorted(stream_id for stream_id in streams if client.streams[stream_id].closed) == [5]
    events = client.receive_data(raw.goaway(1))
    assert [event.stream_id for event in events if isinstance(event, StreamFailed)] == [3]
    assert not client.receive_data(raw.goaway(1))[0].error_code
    events = client.receive_data(raw.goaway(3))
    assert isinstance(events[-1], ConnectionFailed)


def test_frames_after_a_goaway_are_still_read():
    """A connection that says goodbye goes on talking: data, windows, resets of its streams count (h2 refuses them)."""
    pair = Pair()
    stream_id = pair.open(b"1")
    pair.pump()
    pair.server.wire.goaway()
    pair.pump()
    pair.client.wire.send_message(stream_id, bytes(3_000_000), end=True)
    pair.server.wire.expect_message(stream_id)
    pair.pump(consume=True)
    pair.server.wire.send_headers(stream_id, RESPONSE)
    pair.server.wire.send_message(stream_id, b"reply")
    pair.server.wire.send_trailers(stream_id, TRAILERS)
    pair.pump()
    assert pair.client.messages(stream_id) == [b"reply"]


def test_a_server_says_the_same_goodbye_once():
    """A second GOAWAY with the same id is not sent; ids of refused and malformed streams count as seen."""
    server = Connection(client=False)
    server.receive_data(raw.PREFACE + raw.settings() + raw.headers(1) + raw.headers(3, [("x", "y")]))
    server.data_to_send()
    server.goaway(raw.NO_ERROR, b"max_age")
    server.goaway(raw.NO_ERROR, b"max_age")
    server.drain()
    assert raw.goaways(server.data_to_send()) == [(3, raw.NO_ERROR, b"max_age")]


def test_an_error_is_said_even_after_a_goodbye():
    """A server that drains and then has a reason to end the connection says it, with the same id."""
    server = Connection(client=False)
    server.receive_data(raw.PREFACE + raw.settings() + raw.headers(1))
    server.goaway()
    server.goaway(raw.ENHANCE_YOUR_CALM, b"too_many_pings")
    assert raw.goaways(server.data_to_send()) == [(1, raw.NO_ERROR, b""), (1, raw.ENHANCE_YOUR_CALM, b"too_many_pings")]


def test_a_client_may_say_goodbye_too():
    """A client's GOAWAY names stream 0, because servers open none; its calls go on."""
    pair = Pair()
    stream_id = pair.open(b"1", end=True)
    pair.client.wire.goaway()
    pair.pump()
    assert [event.last_stream_id for event in pair.server.of(GoAwayReceived)] == [0]
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    pair.pump()
    assert pair.client.of(TrailersReceived)


def test_nothing_is_said_after_the_connection_failed():
    """After an error of the peer there is one GOAWAY, and none of ours behind it."""
    server = Connection(client=False)
    server.receive_data(raw.PREFACE + raw.settings() + raw.window_update(0, 0))
    server.goaway()
    server.drain()
    assert [code for _, code, _ in raw.goaways(server.data_to_send())] == [raw.PROTOCOL_ERROR]
    assert server.receive_data(raw.ping()) == []
    assert server.receive_eof() == []
    assert not server.wants_write


def test_a_goaway_of_the_wire_names_the_last_stream_that_was_seen():
    """The GOAWAY of an error carries the last processed stream (RFC 9113 §5.4.1)."""
    server = Connection(client=False)
    server.receive_data(raw.PREFACE + raw.settings() + raw.headers(1) + raw.headers(7) + raw.headers(5, end=True))
    events = server.receive_data(raw.data(0))
    assert [event.stream_id for event in events if isinstance(event, StreamFailed)] == [1, 7]
    [(last, code, debug)] = raw.goaways(server.data_to_send())
    assert (last, code) == (7, raw.PROTOCOL_ERROR)
    assert b"stream 0" in debug
