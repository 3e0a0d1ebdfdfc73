"""A content-length that does not match the content makes a message malformed (RFC 9113 §8.1.1, RFC 9110 §8.6)."""

import pytest

import rawframes as raw
from orbit_net.status import Status
from orbit_net.wire.events import MessagesReceived, StreamEnded, StreamFailed
from wirepair import REQUEST, started_client, started_server

BODY = raw.message(b"hello")


def request(*lengths):
    """Return request fields with a content-length for each of ``lengths``."""
    return [*raw.REQUEST, *[("content-length", str(length)) for length in lengths]]


def chunks(data, size):
    """Cut ``data``."""
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 4, 99])
def test_a_length_that_matches(size):
    """In one frame or several, padded or not, the message arrives."""
    server = started_server()
    events = server.receive_data(raw.headers(1, request(len(BODY), len(BODY))))
    parts = chunks(BODY, size)
    for number, part in enumerate(parts, 1):
        events += server.receive_data(raw.data(1, part, end=number == len(parts), pad=3))
    assert [event.messages for event in events if isinstance(event, MessagesReceived)] == [[b"hello"]]
    assert isinstance(events[-1], StreamEnded)


@pytest.mark.parametrize(("length", "ended"), [(len(BODY) - 1, False), (len(BODY) + 1, True), (0, False)])
def test_a_length_that_does_not(length, ended):
    """More than was said, as soon as it comes; less, when the request ends: PROTOCOL_ERROR on the stream alone."""
    server = started_server()
    server.receive_data(raw.headers(1, request(length)))
    assert raw.resets(server.data_to_send()) == []
    events = server.receive_data(raw.data(1, BODY, end=ended))
    reason = "the content-length does not match the content"
    assert events[-1] == StreamFailed(1, Status.INTERNAL, reason, reset=True)
    assert raw.resets(server.data_to_send()) == [(1, raw.PROTOCOL_ERROR)]
    assert server.failure is None
    server.release(1)
    assert server.window.available + server.window.owed == server.window.size


def test_a_request_that_ends_with_its_headers():
    """It has no content: only 0 is right."""
    server = started_server()
    assert server.receive_data(raw.headers(1, request(0), end=True))
    assert server.receive_data(raw.headers(3, request(5), end=True)) == []
    assert raw.resets(server.data_to_send()) == [(3, raw.PROTOCOL_ERROR)]


def test_trailers_end_the_content_too():
    """A request whose trailers come too soon is malformed."""
    server = started_server()
    server.receive_data(raw.headers(1, request(len(BODY))))
    events = server.receive_data(raw.headers(1, [("x", "y")], end=True))
    assert isinstance(events[-1], StreamFailed)


@pytest.mark.parametrize("value", ["-1", "+1", "1.0", "", "0x5", "10, 10", "9" * 19])
def test_what_is_no_length(value):
    """Anything but decimal digits is malformed."""
    server = started_server()
    assert server.receive_data(raw.headers(1, [*raw.REQUEST, ("content-length", value)])) == []
    assert raw.resets(server.data_to_send()) == [(1, raw.PROTOCOL_ERROR)]


def test_lengths_that_disagree():
    """Two different lengths are how requests are smuggled."""
    server = started_server()
    assert server.receive_data(raw.headers(1, request(10, 11))) == []
    assert raw.resets(server.data_to_send()) == [(1, raw.PROTOCOL_ERROR)]


@pytest.mark.parametrize(("length", "fine"), [(len(BODY), True), (len(BODY) + 1, False), (len(BODY) - 1, False)])
def test_responses_too(length, fine):
    """The client holds a server, or the proxy before it, to its word."""
    client = started_client()
    stream_id = client.open_stream(REQUEST)
    client.send_end(stream_id)
    client.data_to_send()
    headers = [(":status", "200"), ("content-type", "application/grpc"), ("content-length", str(length))]
    events = client.receive_data(
        raw.headers(stream_id, headers)
        + raw.data(stream_id, BODY)
        + raw.headers(stream_id, [("grpc-status", "0")], end=True)
    )
    assert any(isinstance(event, StreamFailed) for event in events) is not fine


def test_trailers_only_with_a_length():
    """A response that is all headers has no content."""
    client = started_client()
    for length, fine in ((0, True), (7, False)):
        stream_id = client.open_stream(REQUEST)
        client.send_end(stream_id)
        fields = [(":status", "200"), ("content-length", str(length)), ("grpc-status", "0")]
        events = client.receive_data(raw.headers(stream_id, fields, end=True))
        assert any(isinstance(event, StreamFailed) for event in events) is not fine
