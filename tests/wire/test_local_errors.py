"""What our own caller may not do raises LocalProtocolError and changes nothing."""

import pytest

import rawframes as raw
from orbit_net.errors import LocalProtocolError
from orbit_net.wire.events import TrailersReceived
from wirepair import REQUEST, RESPONSE, TRAILERS, TRAILERS_ONLY, Pair


def picture(connection):
    """Return everything that a mistake might change."""
    streams = {
        stream_id: {
            name: getattr(stream, name) for name in stream.__slots__ if name not in ("assembler", "receive_window")
        }
        for stream_id, stream in connection.streams.items()
    }
    for stream in streams.values():
        stream["out"] = list(stream["out"])
    outbox = connection.outbox
    return (
        streams,
        connection.next_stream_id,
        connection.open_streams,
        outbox.control_size,
        outbox.data_size,
        outbox.pending,
    )


def fresh_request(pair):
    """Open a stream that the server has just seen."""
    stream_id = pair.open(b"x")
    pair.pump()
    return stream_id


CLIENT_MISTAKES = {
    "message after the end": lambda wire, stream_id: (wire.send_end(stream_id), wire.send_message(stream_id, b"x")),
    "end after the end": lambda wire, stream_id: (wire.send_end(stream_id), wire.send_end(stream_id)),
    "response headers": lambda wire, stream_id: wire.send_headers(stream_id, RESPONSE),
    "message on an unknown stream": lambda wire, _: wire.send_message(99, b"x"),
    "end of an unknown stream": lambda wire, _: wire.send_end(99),
    "trailers on an unknown stream": lambda wire, _: wire.send_trailers(99, TRAILERS),
    "message after a reset": lambda wire, stream_id: (
        wire.reset_stream(stream_id, 8),
        wire.send_message(stream_id, b""),
    ),
    "a ping that is too short": lambda wire, _: wire.ping(b"1234567"),
    "a ping that is too long": lambda wire, _: wire.ping(b"123456789"),
}


@pytest.mark.parametrize("name", CLIENT_MISTAKES)
def test_a_mistake_of_the_client_changes_nothing(name):
    """The error is raised before anything is queued or any state moves; the call before it stands."""
    pair = Pair()
    stream_id = fresh_request(pair)
    pair.client.wire.data_to_send()
    with pytest.raises(LocalProtocolError) as caught:
        CLIENT_MISTAKES[name](Watched(pair.client.wire), stream_id)
    assert str(caught.value)
    pair.pump()
    assert pair.server.wire.failure is None


class Watched:
    """Passes calls on to a connection and asserts that one which raises has changed nothing."""

    def __init__(self, wire):
        self._wire = wire

    def __getattr__(self, name):
        method = getattr(self._wire, name)

        def call(*args, **options):
            before = picture(self._wire)
            try:
                return method(*args, **options)
            except LocalProtocolError:
                assert picture(self._wire) == before
                raise

        return call


SERVER_MISTAKES = {
    "message before the headers": lambda wire, stream_id: wire.send_message(stream_id, b"x"),
    "headers twice": lambda wire, stream_id: (
        wire.send_headers(stream_id, RESPONSE),
        wire.send_headers(stream_id, RESPONSE),
    ),
    "message after the trailers": lambda wire, stream_id: (
        wire.send_trailers(stream_id, TRAILERS_ONLY),
        wire.send_message(stream_id, b"x"),
    ),
    "trailers twice": lambda wire, stream_id: (
        wire.send_trailers(stream_id, TRAILERS_ONLY),
        wire.send_trailers(stream_id, TRAILERS),
    ),
    "headers after the trailers": lambda wire, stream_id: (
        wire.send_trailers(stream_id, TRAILERS_ONLY),
        wire.send_headers(stream_id, RESPONSE),
    ),
    "headers on an unknown stream": lambda wire, _: wire.send_headers(2, RESPONSE),
    "a stream of the server": lambda wire, _: wire.open_stream(REQUEST),
}


@pytest.mark.parametrize("name", SERVER_MISTAKES)
def test_a_mistake_of_the_server_changes_nothing(name):
    """As on the client; what was sent before the mistake still arrives."""
    pair = Pair()
    stream_id = fresh_request(pair)
    with pytest.raises(LocalProtocolError):
        SERVER_MISTAKES[name](Watched(pair.server.wire), stream_id)
    pair.pump()
    assert pair.client.wire.failure is None
    if "trailers" in name:
        assert len(pair.client.of(TrailersReceived)) == 1


def test_headers_that_the_peer_does_not_accept_are_refused_here():
    """A list above the peer's MAX_HEADER_LIST_SIZE is not sent; early fields count (RFC 9113 §10.5.1)."""
    pair = Pair()
    wire = pair.client.wire
    wire.receive_data(raw.settings((6, 1_000)))
    stream_id = wire.open_stream(REQUEST, [(b"x", b"y" * 100)])
    for options in ({"extra": [(b"x", b"y" * 1_000)]}, {"early": [(b"x", b"y" * 1_000)]}):
        with pytest.raises(LocalProtocolError, match="the peer accepts 1000"):
            Watched(wire).open_stream(REQUEST, **options)
    pair.pump()
    server = pair.server.wire
    server.receive_data(raw.settings((6, 1_000)))
    for send in (server.send_headers, server.send_trailers):
        with pytest.raises(LocalProtocolError, match="the peer accepts 1000"):
            getattr(Watched(server), send.__name__)(stream_id, RESPONSE, [(b"x", b"y" * 1_000)])
    server.send_trailers(stream_id, TRAILERS_ONLY)
    pair.pump()
    assert pair.client.of(TrailersReceived)


@pytest.mark.parametrize("why", ["goaway", "failure", "limit", "ids"])
def test_no_stream_can_be_opened_when_there_may_be_none(why):
    """After a GOAWAY, after a failure, above the peer's limit, and when the ids are used up (RFC 9113 §5.1.1)."""
    pair = Pair()
    wire = pair.client.wire
    match why:
        case "goaway":
            wire.receive_data(raw.goaway(0))
        case "failure":
            wire.receive_data(raw.data(0))
        case "limit":
            wire.receive_data(raw.settings((3, 0)))
        case "ids":
            wire.next_stream_id = 2**31 - 1
            assert wire.open_stream(REQUEST) == 2**31 - 1
    assert not wire.can_open
    with pytest.raises(LocalProtocolError):
        Watched(wire).open_stream(REQUEST)


def test_everything_is_refused_after_the_connection_failed():
    """No method of a failed connection sends on its streams; all raise or do nothing."""
    pair = Pair()
    stream_id = fresh_request(pair)
    wire = pair.client.wire
    wire.receive_data(raw.data(0))
    wire.data_to_send()
    for attempt in (lambda: wire.send_message(stream_id, b"x"), lambda: wire.send_end(stream_id)):
        with pytest.raises(LocalProtocolError):
            attempt()
    wire.reset_stream(stream_id, 8)
    wire.return_credit(stream_id, 100)
    assert not wire.expect_message(stream_id)
    wire.release(stream_id)
    assert wire.data_to_send() == b""
    assert wire.streams == {}
