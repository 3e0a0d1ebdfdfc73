"""Each illegal frame and the error that RFC 9113 asks for; each case names its section."""

import pytest

import rawframes as raw
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import ConnectionFailed, StreamFailed
from wirepair import REQUEST, RESPONSE, TRAILERS_ONLY, feed

OPEN = raw.headers(1)
GO = raw.PREFACE + raw.settings() + raw.settings(ack=True)


def server(*frames, chunk=None, settings=None):
    """Return a server that has seen a client's hello and these frames, and the events of the frames."""
    connection = Connection(client=False, settings=settings)
    connection.receive_data(GO)
    connection.data_to_send()
    return connection, feed(connection, b"".join(frames), chunk)


def client(*frames, streams=1, chunk=None, settings=None):
    """Return a client with open streams that has seen a server's SETTINGS and these frames, and their events."""
    connection = Connection(client=True, settings=settings)
    connection.receive_data(raw.settings() + raw.settings(ack=True))
    for _ in range(streams):
        connection.open_stream(REQUEST)
    connection.data_to_send()
    return connection, feed(connection, b"".join(frames), chunk)


CONNECTION_ERRORS = {
    # name: (frames, error code)
    "§4.2 a frame larger than our MAX_FRAME_SIZE": (raw.frame(raw.PING, payload=bytes(16_385)), raw.FRAME_SIZE_ERROR),
    "§4.2 an unknown frame may not be larger either": (raw.frame(0xBE, payload=bytes(16_385)), raw.FRAME_SIZE_ERROR),
    "§4.2 DATA neither": (OPEN + raw.frame(raw.DATA, 0, 1, bytes(16_385)), raw.FRAME_SIZE_ERROR),
    "§4.3 a block that cannot be decoded": (raw.headers(1, b"\xff\xff\xff"), raw.COMPRESSION_ERROR),
    "§5.1 DATA on an idle stream": (raw.data(1, b"x"), raw.PROTOCOL_ERROR),
    "§5.1 RST_STREAM on an idle stream": (raw.reset(1), raw.PROTOCOL_ERROR),
    "§5.1 WINDOW_UPDATE on an idle stream": (raw.window_update(1, 1), raw.PROTOCOL_ERROR),
    "§5.1 DATA above the highest stream": (OPEN + raw.data(3, b"x"), raw.PROTOCOL_ERROR),
    "§5.1.1 DATA on a stream of the wrong side": (OPEN + raw.data(2, b"x"), raw.PROTOCOL_ERROR),
    "§6.1 DATA on stream 0": (raw.data(0, b"x"), raw.PROTOCOL_ERROR),
    "§6.1 padding as long as the payload": (OPEN + raw.frame(raw.DATA, raw.PADDED, 1, b"\x03ab"), raw.PROTOCOL_ERROR),
    "§6.1 a padded frame with no pad length": (OPEN + raw.frame(raw.DATA, raw.PADDED, 1), raw.FRAME_SIZE_ERROR),
    "§6.2 HEADERS on stream 0": (raw.headers(0), raw.PROTOCOL_ERROR),
    "§6.2 HEADERS on stream 0, to be continued": (raw.headers(0, flags=0), raw.PROTOCOL_ERROR),
    "§6.2 HEADERS with too much padding": (
        raw.frame(raw.HEADERS, raw.END_HEADERS | raw.PADDED, 1, b"\x09" + raw.block([("a", "b")])),
        raw.PROTOCOL_ERROR,
    ),
    "§6.2 HEADERS too short for its priority": (
        raw.frame(raw.HEADERS, raw.END_HEADERS | raw.PRIORITY_FLAG, 1, b"1234"),
        raw.FRAME_SIZE_ERROR,
    ),
    "§6.3 PRIORITY on stream 0": (raw.frame(raw.PRIORITY, 0, 0, bytes(5)), raw.PROTOCOL_ERROR),
    "§6.3 PRIORITY of 4 bytes": (raw.frame(raw.PRIORITY, 0, 1, bytes(4)), raw.FRAME_SIZE_ERROR),
    "§6.4 RST_STREAM on stream 0": (raw.reset(0), raw.PROTOCOL_ERROR),
    "§6.4 RST_STREAM of 3 bytes": (OPEN + raw.frame(raw.RST_STREAM, 0, 1, bytes(3)), raw.FRAME_SIZE_ERROR),
    "§6.4 RST_STREAM of 5 bytes": (OPEN + raw.frame(raw.RST_STREAM, 0, 1, bytes(5)), raw.FRAME_SIZE_ERROR),
    "§6.5 SETTINGS on a stream": (raw.frame(raw.SETTINGS, 0, 1), raw.PROTOCOL_ERROR),
    "§6.5 SETTINGS acknowledgement with a payload": (
        raw.frame(raw.SETTINGS, raw.ACK, 0, bytes(6)),
        raw.FRAME_SIZE_ERROR,
    ),
    "§6.5 SETTINGS of 5 bytes": (raw.frame(raw.SETTINGS, 0, 0, bytes(5)), raw.FRAME_SIZE_ERROR),
    "§6.5.2 ENABLE_PUSH of 2": (raw.settings((2, 2)), raw.PROTOCOL_ERROR),
    "§6.5.2 INITIAL_WINDOW_SIZE of 2³¹": (raw.settings((4, 2**31)), raw.FLOW_CONTROL_ERROR),
    "§6.5.2 MAX_FRAME_SIZE of 16,383": (raw.settings((5, 16_383)), raw.PROTOCOL_ERROR),
    "§6.5.2 MAX_FRAME_SIZE of 2²⁴": (raw.settings((5, 2**24)), raw.PROTOCOL_ERROR),
    "§6.5.3 a bad value before a good one": (raw.settings((5, 1), (5, 16_384)), raw.PROTOCOL_ERROR),
    "§6.6 PUSH_PROMISE": (OPEN + raw.frame(raw.PUSH_PROMISE, raw.END_HEADERS, 1, bytes(4)), raw.PROTOCOL_ERROR),
    "§6.7 PING on a stream": (raw.frame(raw.PING, 0, 1, bytes(8)), raw.PROTOCOL_ERROR),
    "§6.7 PING of 7 bytes": (raw.ping(b"1234567"), raw.FRAME_SIZE_ERROR),
    "§6.7 PING of 9 bytes": (raw.ping(b"123456789"), raw.FRAME_SIZE_ERROR),
    "§6.7 an answer of 9 bytes": (raw.ping(b"123456789", ack=True), raw.FRAME_SIZE_ERROR),
    "§6.8 GOAWAY on a stream": (raw.frame(raw.GOAWAY, 0, 1, bytes(8)), raw.PROTOCOL_ERROR),
    "§6.8 GOAWAY of 7 bytes": (raw.frame(raw.GOAWAY, 0, 0, bytes(7)), raw.FRAME_SIZE_ERROR),
    "§6.8 GOAWAY with a higher id than before": (raw.goaway(1) + raw.goaway(3), raw.PROTOCOL_ERROR),
    "§6.9 WINDOW_UPDATE of 0 for the connection": (raw.window_update(0, 0), raw.PROTOCOL_ERROR),
    "§6.9 WINDOW_UPDATE of 3 bytes": (raw.frame(raw.WINDOW_UPDATE, 0, 0, bytes(3)), raw.FRAME_SIZE_ERROR),
    "§6.9 WINDOW_UPDATE of 5 bytes": (OPEN + raw.frame(raw.WINDOW_UPDATE, 0, 1, bytes(5)), raw.FRAME_SIZE_ERROR),
    "§6.9.1 a connection window above 2³¹−1": (raw.window_update(0, 2**31 - 1), raw.FLOW_CONTROL_ERROR),
    "§6.9.2 a setting that makes a stream's window overflow": (
        OPEN + raw.window_update(1, 2**31 - 1 - 65_535) + raw.settings((4, 65_536)),
        raw.FLOW_CONTROL_ERROR,
    ),
    "§6.10 CONTINUATION alone": (raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1), raw.PROTOCOL_ERROR),
    "§6.10 CONTINUATION after END_HEADERS": (
        OPEN + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1),
        raw.PROTOCOL_ERROR,
    ),
    "§6.10 CONTINUATION of another stream": (
        raw.headers(1, flags=0) + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 3),
        raw.PROTOCOL_ERROR,
    ),
    "§4.3 PING inside a header block": (raw.headers(1, flags=0) + raw.ping(), raw.PROTOCOL_ERROR),
    "§4.3 DATA inside a header block": (raw.headers(1, flags=0) + raw.data(1, b"x"), raw.PROTOCOL_ERROR),
    "§4.3 an unknown frame inside a header block": (raw.headers(1, flags=0) + raw.frame(0xBE), raw.PROTOCOL_ERROR),
    "§4.3 HEADERS inside a header block": (raw.headers(1, flags=0) + OPEN, raw.PROTOCOL_ERROR),
}
SERVER_ONLY = {
    "§5.1.1 a stream of a client with an even id": (raw.headers(2), raw.PROTOCOL_ERROR),
}
CLIENT_ONLY = {
    "§5.1.1 HEADERS on a stream that nobody opened": (raw.headers(3, raw.RESPONSE), raw.PROTOCOL_ERROR),
    "§5.1.1 HEADERS on a stream of the server": (raw.headers(2, raw.RESPONSE), raw.PROTOCOL_ERROR),
    "§6.5.2 a server with ENABLE_PUSH": (raw.settings((2, 1)), raw.PROTOCOL_ERROR),
}


def assert_connection_error(connection, events, code):
    """One ConnectionFailed, which is last, and one GOAWAY with the code and a reason."""
    assert [type(event) for event in events].count(ConnectionFailed) == 1
    assert isinstance(events[-1], ConnectionFailed)
    assert connection.failure is events[-1].error
    [(last, found, debug)] = raw.goaways(connection.data_to_send())
    assert (found, last) == (code, connection.last_peer_stream_id)
    assert debug.decode() == str(connection.failure)
    assert connection.receive_data(raw.ping()) == []
    assert not connection.wants_write


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("name", [*CONNECTION_ERRORS, *SERVER_ONLY])
def test_a_connection_error_of_a_client(name, chunk):
    """RFC 9113 §5.4.1: GOAWAY with the right code, and every stream fails."""
    frames, code = (CONNECTION_ERRORS | SERVER_ONLY)[name]
    assert_connection_error(*server(frames, chunk=chunk), code)


@pytest.mark.parametrize("name", [*CONNECTION_ERRORS, *CLIENT_ONLY])
def test_a_connection_error_of_a_server(name):
    """The same frames are as wrong from a server, but for those that open a stream or need one that is idle."""
    frames, code = (CONNECTION_ERRORS | CLIENT_ONLY)[name]
    connection, events = client(frames.removeprefix(OPEN), streams="idle" not in name)
    assert_connection_error(connection, events, code)


REQUEST_ERRORS = {
    # name: (frames after the hello, the RST_STREAM that answers, whether the application saw the stream)
    "§8.3.1 no :method": (raw.headers(1, raw.REQUEST[1:]), raw.PROTOCOL_ERROR, False),
    "§8.3.1 no :scheme": (raw.headers(1, [raw.REQUEST[0], *raw.REQUEST[2:]]), raw.PROTOCOL_ERROR, False),
    "§8.3.1 no :path": (raw.headers(1, [*raw.REQUEST[:2], *raw.REQUEST[3:]]), raw.PROTOCOL_ERROR, False),
    "§8.3.1 an empty :path": (raw.headers(1, [*raw.REQUEST[:2], (":path", "")]), raw.PROTOCOL_ERROR, False),
    "§8.3 :status in a request": (raw.headers(1, [(":status", "200"), *raw.REQUEST]), raw.PROTOCOL_ERROR, False),
    "§8.3 an unknown pseudo header": (raw.headers(1, [(":x", "1"), *raw.REQUEST]), raw.PROTOCOL_ERROR, False),
    "§8.3 a pseudo header twice": (raw.headers(1, [*raw.REQUEST[:1], *raw.REQUEST]), raw.PROTOCOL_ERROR, False),
    "§8.3 a pseudo header at the end": (raw.headers(1, [*raw.REQUEST, (":path", "/")]), raw.PROTOCOL_ERROR, False),
    "§8.2.1 an uppercase name": (raw.headers(1, [*raw.REQUEST, ("X-Y", "1")]), raw.PROTOCOL_ERROR, False),
    "§8.2.2 connection": (raw.headers(1, [*raw.REQUEST, ("connection", "close")]), raw.PROTOCOL_ERROR, False),
    "§8.2.2 te other than trailers": (raw.headers(1, [*raw.REQUEST, ("te", "gzip")]), raw.PROTOCOL_ERROR, False),
    "§8.1 a second HEADERS without END_STREAM": (OPEN + raw.headers(1, [("x", "y")]), raw.PROTOCOL_ERROR, True),
    "§8.1 pseudo headers in trailers": (OPEN + raw.headers(1, [(":path", "/")], end=True), raw.PROTOCOL_ERROR, True),
    "§8.2.1 an uppercase name in trailers": (OPEN + raw.headers(1, [("X", "")], end=True), raw.PROTOCOL_ERROR, True),
    "§5.1 DATA after END_STREAM": (raw.headers(1, end=True) + raw.data(1, b"x"), raw.STREAM_CLOSED, True),
    "§5.1 HEADERS after END_STREAM": (
        raw.headers(1, end=True) + raw.headers(1, [("x", "y")], end=True),
        raw.STREAM_CLOSED,
        True,
    ),
    "§6.9 WINDOW_UPDATE of 0 for a stream": (OPEN + raw.window_update(1, 0), raw.PROTOCOL_ERROR, True),
    "§6.9.1 a stream window above 2³¹−1": (
        OPEN + raw.window_update(1, 2**31 - 1 - 65_535) + raw.window_update(1, 1),
        raw.FLOW_CONTROL_ERROR,
        True,
    ),
}


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("name", REQUEST_ERRORS)
def test_a_stream_error_of_a_client(name, chunk):
    """RFC 9113 §5.4.2: RST_STREAM with the right code; the connection and its other streams go on."""
    frames, code, seen = REQUEST_ERRORS[name]
    connection, events = server(frames, raw.headers(3, end=True), chunk=chunk)
    assert raw.resets(connection.data_to_send()) == [(1, code)]
    assert [event.reset for event in events if isinstance(event, StreamFailed)] == ([True] if seen else [])
    assert connection.failure is None
    assert 3 in connection.streams
    connection.release(1)
    connection.release(3)
    assert connection.streams == {}
    assert connection.window.available + connection.window.owed == connection.window.size


RESPONSE_ERRORS = {
    "§8.3.2 no :status": (raw.headers(1, [("content-type", "x")]), raw.PROTOCOL_ERROR),
    "§8.3.2 a pseudo header of requests": (raw.headers(1, [*raw.RESPONSE[:1], (":path", "/")]), raw.PROTOCOL_ERROR),
    "§8.3.2 a status of letters": (raw.headers(1, [(":status", "abc")]), raw.PROTOCOL_ERROR),
    "§8.3.2 a status of two digits": (raw.headers(1, [(":status", "20")]), raw.PROTOCOL_ERROR),
    "§8.1 DATA before HEADERS": (raw.data(1, raw.message(b"x")), raw.PROTOCOL_ERROR),
    "§8.1 an end before HEADERS": (raw.data(1, b"", end=True), raw.PROTOCOL_ERROR),
    "§8.1 DATA after 1xx only": (raw.headers(1, [(":status", "100")]) + raw.data(1, b"x"), raw.PROTOCOL_ERROR),
    "§8.1 1xx with END_STREAM": (raw.headers(1, [(":status", "103")], end=True), raw.PROTOCOL_ERROR),
    "§8.1 1xx after the response": (
        raw.headers(1, raw.RESPONSE) + raw.headers(1, [(":status", "100")]),
        raw.PROTOCOL_ERROR,
    ),
    "§8.1 a second response": (raw.headers(1, raw.RESPONSE) * 2, raw.PROTOCOL_ERROR),
    "§8.1 pseudo headers in trailers": (
        raw.headers(1, raw.RESPONSE) + raw.headers(1, [(":status", "200")], end=True),
        raw.PROTOCOL_ERROR,
    ),
    "§8.2.1 an uppercase name": (raw.headers(1, [*raw.RESPONSE, ("X", "")]), raw.PROTOCOL_ERROR),
    "§5.1 DATA after the trailers": (
        raw.headers(1, raw.RESPONSE + raw.TRAILERS, end=True) + raw.data(1, b"x"),
        raw.STREAM_CLOSED,
    ),
    "§5.1 HEADERS after the trailers": (
        raw.headers(1, raw.RESPONSE + raw.TRAILERS, end=True) + raw.headers(1, raw.TRAILERS, end=True),
        raw.STREAM_CLOSED,
    ),
    "§6.5.2 a header list larger than we accept": (
        raw.headers(1, [*raw.RESPONSE, *[("x-long", "y" * 500)] * 31]),
        raw.CANCEL,
    ),
}


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("name", RESPONSE_ERRORS)
def test_a_stream_error_of_a_server(name, chunk):
    """A broken answer ends its own call and no other."""
    frames, code = RESPONSE_ERRORS[name]
    answer = raw.headers(3, raw.RESPONSE + raw.TRAILERS, end=True)
    connection, events = client(frames, answer, streams=2, chunk=chunk)
    assert raw.resets(connection.data_to_send()) == [(1, code)]
    assert events[-1].stream_id == 3
    [failed] = [event for event in events if isinstance(event, StreamFailed)]
    assert failed.reset
    assert failed.status.name == ("RESOURCE_EXHAUSTED" if code == raw.CANCEL else "INTERNAL")
    assert connection.failure is None
    for stream_id in (1, 3):
        connection.release(stream_id)
    assert connection.streams == {}
    assert connection.window.available + connection.window.owed == connection.window.size


IGNORED = {
    "§5.5 unknown frames": raw.frame(0xBE, 0xFF, 0, b"grease")
    + raw.frame(0x0A, 0, 1, b"altsvc")
    + raw.frame(0xBE, 0, 9),
    "§6.5.2 unknown settings": raw.settings((0xABCD, 1), (0, 2**32 - 1)),
    "§6.3 PRIORITY on any stream": raw.frame(raw.PRIORITY, 0, 1, bytes(5)) + raw.frame(raw.PRIORITY, 0, 99, bytes(5)),
    "§4.1 unknown flags": raw.frame(raw.PING, 0xFE, 0, bytes(8)) + raw.frame(raw.WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1"),
    "§4.1 the reserved bit of the stream id": raw.frame(raw.PRIORITY, 0, 2**31 + 1, bytes(5)),
    "§6.9 the reserved bit of an increment": raw.frame(raw.WINDOW_UPDATE, 0, 0, b"\x80\0\0\1"),
    "§6.7 an answer to no ping": raw.ping(b"whatever", ack=True),
    "§6.5.3 an acknowledgement of no settings": raw.settings(ack=True) * 3,
    "§6.9 no WINDOW_UPDATE is too small": raw.window_update(0, 1),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_to_be_ignored_is_ignored(name):
    """No event but SETTINGS, no error, and calls go on as if nothing had been said."""
    for connection, events in (server(IGNORED[name]), client(IGNORED[name])):
        assert {type(event).__name__ for event in events} <= {"SettingsReceived"}
        assert connection.failure is None
        assert {kind for kind, *_ in raw.split(connection.data_to_send())} <= {raw.SETTINGS, raw.PING}


def test_flags_that_a_frame_does_not_define_are_ignored():
    """RFC 9113 §4.1: unused flags on HEADERS and DATA change nothing."""
    body = raw.frame(raw.DATA, 0xFF & ~raw.PADDED, 1, raw.message(b"x"))
    connection, events = server(raw.headers(1, flags=raw.END_HEADERS | 0xD2 & ~raw.END_STREAM), body)
    assert [type(event).__name__ for event in events] == ["HeadersReceived", "MessagesReceived", "StreamEnded"]
    assert connection.failure is None


def test_the_reserved_bit_of_a_stream_id_is_ignored():
    """RFC 9113 §4.1: it "MUST be ignored when receiving"."""
    frames = raw.headers(1) + raw.data(1, raw.message(b"x"), end=True)
    marked = b"".join(
        raw.frame(kind, flags, stream_id | 2**31, payload) for kind, flags, stream_id, payload in raw.split(frames)
    )
    _, events = server(marked)
    assert [event.stream_id for event in events] == [1, 1, 1]


def test_padding_and_priority_are_taken_off():
    """RFC 9113 §6.1, §6.2: what is padded or prioritised means the same as what is not."""
    block = raw.block(raw.REQUEST)
    head = raw.frame(
        raw.HEADERS, raw.END_HEADERS | raw.PADDED | raw.PRIORITY_FLAG, 1, b"\x07" + bytes(5) + block + bytes(7)
    )
    body = raw.message(b"payload")
    for chunk in (None, 1):
        _, events = server(head, raw.data(1, body[:7], pad=255), raw.data(1, body[7:], pad=0, end=True), chunk=chunk)
        assert [type(event).__name__ for event in events] == ["HeadersReceived", "MessagesReceived", "StreamEnded"]
        assert events[1].messages == [b"payload"]


def test_a_stream_id_must_rise():
    """RFC 9113 §5.1.1: HEADERS for a lower id than the highest is for a closed stream, and opens nothing."""
    connection, events = server(raw.headers(5), raw.headers(3), raw.headers(3, end=True), raw.headers(7))
    assert [event.stream_id for event in events] == [5, 7]
    assert connection.failure is None
    assert set(connection.streams) == {5, 7}


def test_a_ping_is_answered_with_its_own_bytes():
    """RFC 9113 §6.7: the answer carries the same eight bytes, and comes before any data."""
    connection, events = server(OPEN, raw.ping(b"\0\1\2\3\4\5\6\7"))
    connection.send_headers(1, RESPONSE)
    connection.send_message(1, bytes(100_000))
    assert [type(event).__name__ for event in events] == ["HeadersReceived"]
    assert raw.split(connection.data_to_send())[0] == (raw.PING, raw.ACK, 0, b"\0\1\2\3\4\5\6\7")


def test_an_answer_to_our_ping_is_told_once():
    """Our own PING comes back as an event; a second answer to it is not ours."""
    connection, _ = server()
    connection.ping(b"01234567")
    assert raw.split(connection.data_to_send()) == [(raw.PING, 0, 0, b"01234567")]
    [event] = connection.receive_data(raw.ping(b"01234567", ack=True) * 2)
    assert event.opaque == b"01234567"


def test_settings_apply_in_order_and_are_acknowledged():
    """RFC 9113 §6.5.3: values in the order of the frame, the last counts, and one acknowledgement for each frame."""
    connection, events = client(raw.settings((4, 100), (3, 7), (4, 200)), raw.settings((5, 20_000)))
    assert [event.first for event in events] == [False, False]
    assert raw.split(connection.data_to_send()) == [(raw.SETTINGS, raw.ACK, 0, b"")] * 2
    assert connection.peer.initial_window == 200
    assert connection.peer.max_concurrent_streams == 7
    assert connection.peer.max_frame_size == 20_000
    assert connection.streams[1].send_window == 200


@pytest.mark.parametrize("size", [0, 1, 8, 9, 100, 16_383])
def test_the_end_of_the_bytes_inside_a_frame_is_an_error(size):
    """A connection that ends in the middle of a frame or of a header block was cut off."""
    frame = raw.frame(0xBE, 0, 0, bytes(16_384))[: 9 + size]
    connection, events = server(frame)
    assert events == []
    [failed] = connection.receive_eof()
    assert "middle of a frame" in str(failed.error)
    assert len(raw.goaways(connection.data_to_send())) == 1
    assert connection.receive_eof() == []


@pytest.mark.parametrize(
    "frames",
    [raw.headers(1, flags=0), OPEN + raw.data(1, bytes(100))[:50], OPEN + raw.data(1, b"x" * 9)[:9], raw.ping()[:3]],
    ids=["header block", "data", "data header", "frame header"],
)
def test_the_end_of_the_bytes_inside_anything_is_an_error(frames):
    """The same for a header block to be continued and for DATA that has begun."""
    connection, _ = server(frames)
    events = connection.receive_eof()
    assert isinstance(events[-1], ConnectionFailed)


def test_the_end_of_the_bytes_between_frames_is_no_error():
    """Closing between frames breaks no rule, with streams open or not."""
    connection, _ = server(OPEN)
    assert [type(event) for event in connection.receive_eof()] == [StreamFailed]
    assert connection.failure is None
    assert not connection.wants_write


def test_a_larger_frame_is_fine_where_we_allow_it():
    """Our MAX_FRAME_SIZE is what we announced (RFC 9113 §6.5.2)."""
    settings = WireSettings(max_frame_size=2**20)
    connection, events = server(OPEN, raw.data(1, raw.message(bytes(200_000))), settings=settings)
    assert len(events[1].messages[0]) == 200_000
    hello = Connection(client=False, settings=settings).data_to_send()
    assert b"\0\5\0\x10\0\0" in raw.split(hello)[0][3]
    assert connection.failure is None


def test_a_large_request_header_list_reaches_the_application():
    """Up to twice the limit the list is delivered with its size, so that the call can be refused with a status;
    beyond, it ends the connection."""
    fields = [*raw.REQUEST, *[("x-long", "y" * 500)] * 31]
    connection, [event] = server(raw.headers(1, fields))
    assert 16_384 < event.block.size < 32_768
    connection.send_trailers(1, TRAILERS_ONLY)
    assert connection.failure is None
    block = raw.block([*raw.REQUEST, *[("x-long", "y" * 500)] * 62])
    head = raw.frame(raw.HEADERS, 0, 1, block[:16_384]) + raw.frame(
        raw.CONTINUATION, raw.END_HEADERS, 1, block[16_384:]
    )
    assert_connection_error(*server(head), raw.ENHANCE_YOUR_CALM)
