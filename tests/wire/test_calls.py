"""Whole calls between two ends, in whole pieces and byte by byte (gRPC over HTTP/2, "Requests", "Responses")."""

from random import Random

import pytest

import rawframes as raw
from orbit_net.wire import Connection, HeaderTemplate, WireSettings
from orbit_net.wire.assembler import CompressedMessage
from orbit_net.wire.events import HeadersReceived, SettingsReceived, StreamEnded, StreamFailed, TrailersReceived
from wirepair import RESPONSE, TRAILERS, TRAILERS_ONLY, Pair, assert_balanced, assert_whole, feed, plain

HEADERS_SEEN = ((b":status", b"200"),), ((b"content-type", b"application/grpc"),)
OK = ((), ((b"grpc-status", b"0"),))


@pytest.fixture(params=[None, 1, 7, "random"], ids=["whole", "bytes", "sevens", "random"])
def pair(request):
    """Two ends and a pipe that cuts in one of four ways."""
    return Pair(chunk=Random(5) if request.param == "random" else request.param)


def call(pair, requests, replies):
    """Run one call and return its stream and what each side was told of it."""
    stream_id = pair.open(*requests, end=True)
    pair.pump()
    pair.answer(stream_id, *replies)
    pair.pump()
    client = plain(pair.client.of(object, None)[1:])
    server = plain(pair.server.of(object, None)[1:])
    return stream_id, client, server


KINDS = {
    "unary": ([b"request"], [b"reply"]),
    "server streaming": ([b"request"], [b"%d" % number for number in range(50)]),
    "client streaming": ([b"%d" % number for number in range(50)], [b"reply"]),
    "full duplex": ([b"a", b"", b"b" * 20_000], [b"", b"c" * 20_000, b"d"]),
    "no messages": ([], []),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_call_arrives_as_it_was_sent(pair, kind):
    """Headers, every message and the end arrive in order on both sides, however the bytes were cut."""
    requests, replies = KINDS[kind]
    stream_id, client, server = call(pair, requests, replies)
    assert client == [
        ("headers", stream_id, *HEADERS_SEEN),
        *[("message", stream_id, "bytes", reply) for reply in replies],
        ("trailers", stream_id, *OK),
    ]
    assert [event[0] for event in server] == ["headers", *["message"] * len(requests), "end"]
    assert [event[3] for event in server if event[0] == "message"] == requests
    pair.client.consume()
    pair.server.consume()
    assert_balanced(pair)
    pair.finish()
    assert_whole(pair.client)
    assert_whole(pair.server)


def test_the_hello_of_both_sides_is_settings_and_their_acknowledgement():
    """Each side says SETTINGS first, and learns that its own were acknowledged (RFC 9113 §3.4)."""
    pair = Pair()
    for end in pair.ends():
        assert [type(event) for event in end.events] == [SettingsReceived]
        assert end.events[0].first
        assert end.wire.settings_acknowledged
        assert not end.wire.wants_write


def test_a_full_duplex_call_goes_back_and_forth(pair):
    """Messages cross in both directions while neither side has ended."""
    stream_id = pair.open(b"0")
    pair.pump()
    pair.server.wire.send_headers(stream_id, RESPONSE)
    for number in range(1, 20):
        pair.server.wire.send_message(stream_id, b"%d" % number)
        pair.client.wire.send_message(stream_id, b"%d" % number)
        pair.pump(consume=False)
        assert pair.server.messages(stream_id)[-1] == pair.client.messages(stream_id)[-1] == b"%d" % number
    pair.client.wire.send_message(stream_id, b"last", end=True)
    pair.server.wire.send_trailers(stream_id, TRAILERS)
    pair.pump()
    assert pair.server.messages(stream_id)[-1] == b"last"
    assert len(pair.server.of(StreamEnded)) == len(pair.client.of(TrailersReceived)) == 1


def test_a_trailers_only_answer_is_trailers_without_headers(pair):
    """One header block that ends the stream is the whole answer (gRPC over HTTP/2, "Trailers-Only")."""
    stream_id = pair.open(b"request", end=True)
    pair.pump()
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    pair.pump()
    [trailers] = pair.client.of(TrailersReceived)
    assert not pair.client.of(HeadersReceived)
    assert trailers.block.get(b"grpc-status") == b"5"
    assert trailers.block.get(b"content-type") == b"application/grpc"
    assert trailers.block.pseudo == {b":status": b"200"}


@pytest.mark.parametrize("chunk", [None, 1])
def test_informational_headers_are_skipped(chunk):
    """Any number of 1xx header blocks before the response are not events (RFC 9113 §8.1)."""
    client = Connection(client=True)
    stream_id = client.open_stream(RESPONSE)
    events = feed(
        client,
        raw.settings()
        + raw.headers(stream_id, [(":status", "100")])
        + raw.headers(stream_id, [(":status", "103"), ("link", "</style.css>")])
        + raw.headers(stream_id, raw.RESPONSE)
        + raw.data(stream_id, raw.message(b"reply"))
        + raw.headers(stream_id, raw.TRAILERS, end=True),
        chunk,
    )
    assert [event[0] for event in plain(events)] == ["SettingsReceived", "headers", "message", "trailers"]


def test_a_message_with_metadata_at_the_ends_keeps_it(pair):
    """Extra fields travel behind the constant ones, in the request, the response and the trailers."""
    extra = [(b"x-text", b"caf\xc3\xa9"), (b"x-many", b"1"), (b"x-many", b"2"), (b"x-bin", b"AAEC")]
    stream_id = pair.open(end=True, extra=extra)
    pair.pump()
    pair.server.wire.send_headers(stream_id, RESPONSE, extra)
    pair.server.wire.send_trailers(stream_id, TRAILERS, extra)
    pair.pump()
    assert pair.server.of(HeadersReceived)[0].block.fields[-4:] == extra
    assert pair.client.of(HeadersReceived)[0].block.fields[-4:] == extra
    assert pair.client.of(TrailersReceived)[0].block.fields[-4:] == extra


def test_early_fields_stand_between_the_pseudo_headers_and_the_rest():
    """``grpc-timeout`` comes before the call definition (PROTOCOL-HTTP2, "Requests")."""
    pair = Pair()
    template = HeaderTemplate(raw_fields(raw.REQUEST))
    pair.client.wire.open_stream(template, [(b"x-last", b"1")], early=[(b"grpc-timeout", b"5S")])
    pair.pump()
    names = [name for name, _ in pair.server.of(HeadersReceived)[0].block.fields]
    assert names == [b"grpc-timeout", b"te", b"content-type", b"x-last"]


def raw_fields(fields):
    """Return text fields as bytes."""
    return [(name.encode(), value.encode()) for name, value in fields]


@pytest.mark.parametrize("chunk", [None, 1_000])
def test_a_message_larger_than_both_windows_arrives(chunk):
    """A reader that waits for a large message gets it, whatever the windows (design: credit is lent)."""
    small = WireSettings(stream_window=65_535, connection_window=65_535, max_message=2**24)
    pair = Pair(client=small, server=small, chunk=chunk)
    message = Random(1).randbytes(3 * 2**20)
    stream_id = pair.open(message, end=True)
    pair.pump(consume=False)
    assert pair.client.wire.outbox.data_size > 2 * 2**20, "nobody reads yet: the window holds the sender"
    pair.server.wire.expect_message(stream_id)
    pair.pump()
    assert pair.server.messages(stream_id) == [message]
    pair.answer(stream_id, message)
    pair.client.wire.expect_message(stream_id)
    pair.pump()
    assert pair.client.messages(stream_id) == [message]
    for end in pair.ends():
        end.consume()
    pair.finish()
    assert_balanced(pair)
    for end in pair.ends():
        assert_whole(end)
        assert end.wire.window.lent <= end.wire.ledger.dry + end.wire.ledger.loan


def test_a_message_over_the_limit_is_refused_at_its_prefix():
    """The declared length decides, before any of the message is kept; the connection and its windows live on."""
    pair = Pair(server=WireSettings(max_message=1_000))
    stream_id = pair.open(b"fine", b"x" * 1_001, end=True)
    pair.pump()
    [failed] = pair.server.of(StreamFailed)
    assert pair.server.messages(stream_id) == [b"fine"]
    assert failed.status.name == "RESOURCE_EXHAUSTED"
    assert "1001 bytes" in failed.reason
    assert not failed.reset
    pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
    pair.pump()
    assert len(pair.client.of(TrailersReceived)) == 1
    pair.finish()
    assert_whole(pair.server)
    assert_balanced(pair)


def test_a_bad_message_that_ends_its_stream_closes_it():
    """The frame that carries the bad message may be the last: the stream no longer counts as open."""
    client = Connection(client=True, settings=WireSettings(max_message=10))
    stream_id = client.open_stream(RESPONSE)
    client.send_end(stream_id)
    client.data_to_send()
    answer = raw.headers(stream_id, raw.RESPONSE) + raw.data(stream_id, raw.message(bytes(11)), end=True)
    events = client.receive_data(raw.settings() + answer)
    assert [event[0] for event in plain(events)] == ["SettingsReceived", "headers", "failed"]
    assert client.open_streams == 0
    client.release(stream_id)
    assert_whole(client)


def test_a_stream_that_ends_inside_a_message_fails():
    """A request or response cut short is INTERNAL, not a shorter message."""
    server = Connection(client=False)
    head = raw.PREFACE + raw.settings()
    cut = raw.message(b"abc")[:-1]
    events = feed(server, head + raw.headers(1) + raw.data(1, cut, end=True))
    assert [event[0] for event in plain(events)] == ["SettingsReceived", "headers", "failed"]
    client = Connection(client=True)
    client.open_stream(RESPONSE)
    answer = raw.headers(1, raw.RESPONSE) + raw.data(1, cut) + raw.headers(1, raw.TRAILERS, end=True)
    events = feed(client, raw.settings() + answer)
    assert [event[0] for event in plain(events)] == ["SettingsReceived", "headers", "failed"]
    assert events[-1].status.name == "INTERNAL"
    assert "middle of a message" in events[-1].reason


def test_compressed_messages_are_marked_when_the_call_allows_them():
    """The flag of a message comes through as its type; what to do with it is for the layer above."""
    pair = Pair()
    stream_id = pair.open()
    pair.pump()
    pair.server.wire.streams[stream_id].assembler.compression_allowed = True
    pair.client.wire.send_message(stream_id, CompressedMessage(b"squeezed"))
    pair.client.wire.send_message(stream_id, b"plain", end=True)
    pair.pump()
    messages = pair.server.messages(stream_id)
    assert [type(message) for message in messages] == [CompressedMessage, bytes]
    assert messages == [b"squeezed", b"plain"]


def test_many_interleaved_calls_do_not_mix(pair):
    """A hundred calls at once, answered in another order, each get their own messages."""
    payloads = {pair.open(b"%d" % number * 50, end=True): b"%d" % number * 50 for number in range(100)}
    pair.pump()
    for stream_id in sorted(payloads, key=lambda number: number * 7 % 101):
        [message] = pair.server.messages(stream_id)
        pair.answer(stream_id, message, message)
    pair.pump()
    assert {stream_id: pair.client.messages(stream_id) for stream_id in payloads} == {
        stream_id: [payload] * 2 for stream_id, payload in payloads.items()
    }
    pair.finish()
    assert_balanced(pair)


def test_the_repr_says_what_the_connection_does():
    """``repr`` of a connection and of a stream is for people."""
    pair = Pair()
    assert repr(pair.client.wire) == "<wire.Connection client open, 0 streams, 0 bytes queued>"
    stream_id = pair.open(b"12345")
    assert repr(pair.client.wire) == "<wire.Connection client open, 1 streams, 10 bytes queued>"
    assert repr(pair.client.wire.streams[stream_id]) == (
        "<Stream 1: sending OPEN, receiving START, 10 bytes queued, 0 unread>"
    )
    pair.server.wire.drain()
    assert repr(pair.server.wire) == "<wire.Connection server draining, 0 streams, 0 bytes queued>"
    pair.server.wire.receive_data(b"\xff" * 20)
    assert repr(pair.server.wire).startswith("<wire.Connection server failed")
    assert repr(TRAILERS) == "<HeaderTemplate grpc-status>"
