"""How a connection begins, and what a wrong beginning says (RFC 9113 §3.4)."""

import pytest

import rawframes as raw
from orbit_net.wire import Connection
from orbit_net.wire.events import ConnectionFailed, SettingsReceived
from wirepair import feed

HTTP_CLIENTS = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /test.Echo/Unary HTTP/1.1\r\n\r\n",
    b"PUT / HTTP/1.1\r\n\r\n",
    b"PATCH / HTTP/1.1\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"DELETE / HTTP/1.1\r\n\r\n",
]
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
SSH = b"SSH-2.0-OpenSSH_9.6\r\n"
OTHERS = [
    SSH,
    bytes(100),
    b"\xff" * 100,
    b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 5,
]


def failure(connection, data, chunk, *, eof=False):
    """Feed wrong bytes; return the text of the one error, and check its GOAWAY."""
    events = feed(connection, data, chunk)
    if eof:
        assert events == []
        events = connection.receive_eof()
    [failed] = events
    assert isinstance(failed, ConnectionFailed)
    [(last, code, _)] = raw.goaways(connection.data_to_send())
    assert (last, code) == (0, raw.PROTOCOL_ERROR)
    return str(failed.error)


@pytest.mark.parametrize("chunk", [None, 1, 5])
@pytest.mark.parametrize("data", HTTP_CLIENTS)
def test_a_client_of_http_1_is_told_so(data, chunk):
    """A browser or curl without prior knowledge gets an error that names HTTP/1, however its bytes arrive."""
    assert "the client speaks HTTP/1" in failure(Connection(client=False), data, chunk)


@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_a_client_of_tls_is_told_so(chunk):
    """A TLS handshake on a plain port says TLS."""
    assert "the client speaks TLS" in failure(Connection(client=False), TLS_HELLO, chunk)


@pytest.mark.parametrize("chunk", [None, 1, 5])
@pytest.mark.parametrize("data", OTHERS)
def test_any_other_client_is_shown_its_first_bytes(data, chunk):
    """Whatever else it is, the error shows how it began."""
    text = failure(Connection(client=False), data, chunk)
    assert "the client does not speak HTTP/2: its first bytes are" in text
    assert repr(data[:4])[2:-1] in text


@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_a_server_of_http_1_is_named_with_its_answer(chunk):
    """A web server answers our preface with a 400: the error says HTTP/1."""
    answer = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n"
    text = failure(Connection(client=True), answer, chunk)
    assert "the server speaks HTTP/1" in text
    assert chunk or "'HTTP/1.1 400 Bad Request'" in text


@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_a_server_of_tls_is_named(chunk):
    """An alert is all that a TLS server has to say to plain text; it may be shorter than a frame header."""
    assert "the server speaks TLS" in failure(Connection(client=True), TLS_ALERT, chunk, eof=True)
    assert "the server speaks TLS" in failure(Connection(client=True), TLS_HELLO, chunk)


@pytest.mark.parametrize("chunk", [None, 1, 5])
@pytest.mark.parametrize(
    "data", [SSH, bytes(50), b"220 mail.example.com ESMTP\r\n", raw.PREFACE, raw.ping(), raw.goaway(0)]
)
def test_any_other_server_is_shown_its_first_bytes(data, chunk):
    """A server that does not begin with SETTINGS does not speak HTTP/2; another frame first is no beginning either."""
    text = failure(Connection(client=True), data, chunk)
    assert "the server does not speak HTTP/2: its first bytes are" in text
    assert repr(data[:9])[2:-1] in text


@pytest.mark.parametrize("frame", [raw.ping(), raw.settings(ack=True), raw.frame(raw.SETTINGS, 0, 1), raw.headers(1)])
def test_the_first_frame_of_a_client_is_settings(frame):
    """RFC 9113 §3.4: the preface is followed by a SETTINGS frame, which is no acknowledgement."""
    for chunk in (None, 1):
        text = failure(Connection(client=False), raw.PREFACE + frame, chunk)
        assert text == "the first frame of a client must be SETTINGS"


@pytest.mark.parametrize("size", range(1, 34))
def test_a_client_that_goes_before_it_has_begun_says_where(size):
    """An end inside a preface that was right so far is an end, not another protocol."""
    hello = (raw.PREFACE + raw.settings((3, 1)))[:size]
    connection = Connection(client=False)
    assert connection.receive_data(hello) == []
    [failed] = connection.receive_eof()
    assert str(failed.error) == (
        "the connection ended before the client's SETTINGS"
        if size < 33
        else "the connection ended in the middle of a frame"
    )


@pytest.mark.parametrize("size", range(1, 9))
def test_a_server_that_goes_before_it_has_begun_says_where(size):
    """The same for a server."""
    connection = Connection(client=True)
    connection.receive_data(raw.settings((3, 1))[:size])
    [failed] = connection.receive_eof()
    assert "middle of a frame" in str(failed.error) or "before the server's SETTINGS" in str(failed.error)


def test_a_peer_that_says_nothing_at_all_broke_no_rule():
    """A port scan opens and closes: no error, no event."""
    for client in (True, False):
        connection = Connection(client=client)
        assert connection.receive_eof() == []
        assert connection.failure is None


def test_nothing_is_settled_before_the_first_settings():
    """The first SETTINGS is what makes a peer ready."""
    connection = Connection(client=True)
    assert not connection.peer.received
    [event] = connection.receive_data(raw.settings((3, 5)))
    assert event == SettingsReceived(first=True)
    assert connection.peer.received
    assert connection.peer.max_concurrent_streams == 5
