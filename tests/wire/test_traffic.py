"""What a connection counts: streams by how they ended, messages by direction, and the peer's goodbye."""

from h2.errors import ErrorCodes

from orbit_net.wire import HeaderTemplate, Traffic, WireSettings
from wirepair import TRAILERS_ONLY, Pair

REFUSAL = HeaderTemplate([(b"grpc-status", b"9")])


def _streams(pair):
    return [(end.wire.traffic.opened, end.wire.traffic.failed, end.wire.traffic.refused) for end in pair.ends()]


def test_a_call_that_ends_in_good_order():
    """A stream counts as opened on both ends, and its messages once for each direction."""
    pair = Pair()
    stream_id = pair.open(b"a", b"b", end=True)
    pair.pump()
    pair.answer(stream_id, b"c")
    pair.finish()
    assert _streams(pair) == [(1, 0, 0), (1, 0, 0)]
    assert [end.wire.traffic.messages_sent for end in pair.ends()] == [2, 1]


def test_a_status_other_than_ok():
    """A refusal is no failure of the stream; the client counts it where it reads it."""
    pair = Pair()
    for number in range(2):
        stream_id = pair.open(b"a", end=True)
        pair.pump()
        if number:
            pair.answer(stream_id, trailers=REFUSAL)
        else:
            pair.server.wire.send_trailers(stream_id, TRAILERS_ONLY)
        pair.pump()
    pair.finish()
    assert _streams(pair)[0] == (2, 0, 2)


def test_a_call_that_is_reset():
    """A stream that either side resets has failed on both ends, once."""
    for side in (0, 1):
        pair = Pair()
        stream_id = pair.open(b"a")
        pair.pump()
        pair.ends()[side].wire.reset_stream(stream_id, ErrorCodes.CANCEL)
        pair.finish()
        assert _streams(pair) == [(1, 1, 0), (1, 1, 0)]


def test_a_request_that_was_answered_early():
    """A server that does not read the rest of a request has answered all the same: nothing has failed."""
    pair = Pair()
    stream_id = pair.open(b"a")
    pair.pump()
    pair.answer(stream_id, b"b")
    pair.finish()
    assert _streams(pair) == [(1, 0, 0), (1, 0, 0)]


def test_a_response_that_nobody_waits_for():
    """A client that lets go of an open call has failed it."""
    pair = Pair()
    pair.open(b"a", end=True)
    pair.finish()
    assert _streams(pair)[0] == (1, 1, 0)


def test_streams_above_the_limit():
    """A stream that the server refuses to open was opened by the client only, and has failed there."""
    pair = Pair(server=WireSettings(max_concurrent_streams=1), started=False)
    for _ in range(2):
        pair.open(b"a")
    pair.pump()
    assert _streams(pair) == [(2, 1, 0), (1, 0, 0)]


def test_a_lost_connection():
    """Every stream that was open has failed."""
    pair = Pair()
    for _ in range(3):
        pair.open(b"a")
    pair.pump()
    for end in pair.ends():
        end.wire.receive_eof()
    assert _streams(pair) == [(3, 3, 0), (3, 3, 0)]


def test_goaway():
    """The error code of the peer's last GOAWAY is kept."""
    pair = Pair()
    assert pair.client.wire.traffic.goaway is None
    pair.server.wire.goaway(ErrorCodes.ENHANCE_YOUR_CALM)
    pair.pump()
    assert pair.client.wire.traffic.goaway == ErrorCodes.ENHANCE_YOUR_CALM
    assert pair.server.wire.traffic.goaway is None


def test_sums():
    """A sum has the counts of all, the latest times and the last goodbye."""
    total, first, second = Traffic(), Traffic(), Traffic()
    for number, one in enumerate((first, second), start=1):
        for name in ("opened", "failed", "refused", "messages_sent", "messages_received", "keepalives"):
            setattr(one, name, number)
    first.opened_at, second.sent_at, first.received_at, second.received_at = 5.0, 6.0, 7.0, 3.0
    first.goaway = 0
    for one in (first, second):
        total.add(one)
    assert [getattr(total, name) for name in Traffic.__slots__] == [3, 0, 3, 3, 3, 3, 5.0, 7.0, 3, 6.0]
    assert repr(total) == "<Traffic 3 streams, 3 failed, 3 refused, 3 messages sent, 3 received>"
