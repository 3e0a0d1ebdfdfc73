"""Abuse ends with GOAWAY(ENHANCE_YOUR_CALM) at the stated limit; honest peers never come near (RFC 9113 §10.5)."""

import hpack
import pytest

import rawframes as raw
from orbit_net.wire import FloodLimits
from wirepair import RESPONSE, TRAILERS, TRAILERS_ONLY, started_client, started_server

LIMITS = FloodLimits()


def borne(connection, frames, *, at_most=5_000, now=0.0):
    """Feed frames one by one until the connection fails; return how many it bore, and check the GOAWAY."""
    for count in range(at_most):
        connection.tick(now)
        connection.receive_data(frames(count))
        if connection.failure is not None:
            [(_, code, debug)] = raw.goaways(connection.data_to_send())
            assert code == raw.ENHANCE_YOUR_CALM
            assert debug.startswith((b"flood: ", b"a header block"))
            return count
        connection.data_to_send()
    return at_most


CONTROL_FLOODS = {
    "pings (CVE-2019-9512)": lambda _: raw.ping(),
    "answers to no ping": lambda _: raw.ping(ack=True),
    "settings (CVE-2019-9515)": lambda _: raw.settings(),
    "acknowledgements": lambda _: raw.settings(ack=True),
    "priorities (CVE-2019-9513)": lambda count: raw.frame(raw.PRIORITY, 0, count + 1, bytes(5)),
    "unknown frames": lambda count: raw.frame(0xF0, 0, count, b"?"),
    "goodbyes": lambda _: raw.goaway(0),
    "window updates of one byte": lambda _: raw.window_update(0, 1),
}


@pytest.mark.parametrize("side", [started_server, started_client])
@pytest.mark.parametrize("name", CONTROL_FLOODS)
def test_frames_that_do_no_work_are_borne_up_to_the_limit(name, side):
    """A thousand at once, and not one more."""
    assert borne(side(), CONTROL_FLOODS[name]) == pytest.approx(LIMITS.control, abs=1)


@pytest.mark.parametrize("name", CONTROL_FLOODS)
def test_a_trickle_of_them_is_borne_for_ever(name):
    """A hundred a second do no harm."""
    connection = started_server()
    for count in range(5_000):
        connection.tick(count / 100)
        connection.receive_data(CONTROL_FLOODS[name](count))
        connection.data_to_send()
    assert connection.failure is None


def test_window_updates_of_one_byte_on_streams_count_too():
    """Tiny increments on a stream, or on one that is gone, are the same abuse (CVE-2019-9511)."""
    connection = started_server()
    connection.receive_data(raw.headers(1) + raw.headers(3))
    connection.reset_stream(3, raw.CANCEL)
    connection.release(3)
    assert borne(connection, lambda count: raw.window_update(1 + count % 2 * 2, 1)) == LIMITS.control


def test_a_settings_frame_of_thousands_counts_as_many():
    """One frame may hold 2,730 settings; a flood of those ends sooner."""
    frame = raw.settings(*[(4, 65_535 + number % 2) for number in range(2_730)])
    assert borne(started_server(), lambda _: frame) < 30


def test_rapid_resets_are_counted():
    """Streams that are opened and reset at once (CVE-2023-44487): two hundred, then GOAWAY."""
    assert borne(started_server(), lambda count: raw.headers(2 * count + 1) + raw.reset(2 * count + 1)) == LIMITS.resets


def test_rapid_resets_are_counted_when_the_application_keeps_up():
    """It does not matter that the handlers end at once."""
    connection = started_server()

    def frames(count):
        for stream_id in list(connection.streams):
            connection.release(stream_id)
        return raw.headers(2 * count + 1) + raw.reset(2 * count + 1)

    assert borne(connection, frames) == LIMITS.resets


def test_refused_streams_are_counted():
    """Streams above the limit are refused, and a client that goes on is shown out."""
    connection = started_server()
    count = borne(connection, lambda count: raw.headers(2 * count + 1))
    assert count == 100 + LIMITS.resets


def test_streams_that_are_ignored_after_a_goodbye_are_counted():
    """Who goes on opening streams after GOAWAY has not listened."""
    connection = started_server()
    connection.goaway()
    connection.data_to_send()
    assert borne(connection, lambda count: raw.headers(2 * count + 1)) == LIMITS.resets


PROVOCATIONS = {
    "a window update of 0": raw.window_update,
    "a window that overflows": lambda stream_id, _: raw.window_update(stream_id, 2**31 - 1),
    "data after the end": lambda stream_id, _: raw.data(stream_id, b"", end=True) + raw.data(stream_id, b"x"),
    "headers after the end": lambda stream_id, _: (
        raw.data(stream_id, b"", end=True) + raw.headers(stream_id, [("x", "y")], end=True)
    ),
    "a second request": lambda stream_id, _: raw.headers(stream_id),
}


@pytest.mark.parametrize("name", PROVOCATIONS)
def test_resets_that_the_peer_provokes_are_counted(name):
    """MadeYouReset (CVE-2025-8671): the same bucket counts what we have to reset."""
    connection = started_server()

    def frames(count):
        for stream_id in list(connection.streams):
            connection.release(stream_id)
        return raw.headers(2 * count + 1) + PROVOCATIONS[name](2 * count + 1, 0)

    assert borne(connection, frames) <= LIMITS.resets


def test_malformed_requests_are_counted():
    """Each costs us a decoded block and a reset."""
    bad = raw.block([("x", "y")])
    assert borne(started_server(), lambda count: raw.headers(2 * count + 1, bad)) == LIMITS.resets


@pytest.mark.parametrize("padded", [False, True])
def test_empty_data_frames_are_borne_ten_in_a_row(padded):
    """DATA that carries nothing, padding included (CVE-2019-9518); any byte of data starts the count anew."""
    connection = started_server()
    connection.receive_data(raw.headers(1))
    empty = raw.data(1, b"", pad=3) if padded else raw.data(1)
    for _ in range(100):
        connection.receive_data(empty * LIMITS.empty + raw.data(1, raw.message(b"x")))
    assert connection.failure is None
    assert borne(connection, lambda _: empty) == LIMITS.empty


def test_empty_data_frames_inside_a_message_are_harmless():
    """Frames may be empty anywhere, between the bytes of a prefix too."""
    connection = started_server()
    connection.receive_data(raw.headers(1))
    body = raw.message(b"payload")
    events = connection.receive_data(b"".join(raw.data(1) + raw.data(1, body[at : at + 1]) for at in range(len(body))))
    assert events[-1].messages == [b"payload"]


@pytest.mark.parametrize("gone", ["reset", "released"])
def test_empty_ends_of_streams_that_are_gone_are_counted(gone):
    """END_STREAM again and again, on a stream that nobody serves any more."""
    connection = started_server()
    connection.receive_data(raw.headers(1))
    connection.reset_stream(1, raw.CANCEL)
    if gone == "released":
        connection.release(1)
    assert borne(connection, lambda _: raw.data(1, b"", end=True)) <= LIMITS.control + 2


def test_headers_of_streams_that_are_gone_are_counted():
    """Trailers again and again for a request that is over."""
    connection = started_server()
    connection.receive_data(raw.headers(1, end=True))
    connection.send_trailers(1, TRAILERS_ONLY)
    connection.data_to_send()
    connection.release(1)
    assert borne(connection, lambda _: raw.headers(1, raw.TRAILERS, end=True)) <= LIMITS.control + 2


def test_a_block_of_many_continuations_is_stopped():
    """CONTINUATION floods (CVE-2024-27316): 64 frames, or 32 KiB, whatever comes first, before anything is decoded."""
    connection = started_server()
    connection.receive_data(raw.headers(1, b"", flags=0))
    assert borne(connection, lambda _: raw.frame(raw.CONTINUATION, 0, 1)) == LIMITS.continuations
    connection = started_server()
    connection.receive_data(raw.headers(1, bytes(16_384), flags=0))
    assert borne(connection, lambda _: raw.frame(raw.CONTINUATION, 0, 1, bytes(4_096))) == 4


def test_an_hpack_bomb_ends_the_connection():
    """Kilobytes in the table, named again and again (CVE-2016-6581): the list is limited while it is decoded."""
    connection, encoder = started_server(), hpack.Encoder()
    bomb = encoder.encode([*raw.REQUEST, ("x-bomb", "b" * 3_900)], huffman=False)
    connection.receive_data(raw.headers(1, bomb))
    events = connection.receive_data(raw.headers(3, encoder.encode(raw.REQUEST + [("x-bomb", "b" * 3_900)] * 4_000)))
    assert type(events[-1]).__name__ == "ConnectionFailed"
    assert raw.goaways(connection.data_to_send())[0][1] == raw.ENHANCE_YOUR_CALM


def test_unsent_answers_are_measured():
    """``control_size`` is what the driver looks at before it reads on (CVE-2019-9512): bytes, until they are taken."""
    connection = started_server()
    connection.receive_data(raw.ping() * 100)
    assert connection.outbox.control_size == 100 * len(raw.ping())
    connection.data_to_send()
    assert connection.outbox.control_size == 0


def test_trailers_after_everything_else_still_work_under_a_flood():
    """Below the limit a flood disturbs no call."""
    connection = started_server()
    connection.receive_data(raw.headers(1))
    connection.receive_data(raw.ping() * 900 + raw.data(1, raw.message(b"x"), end=True))
    connection.send_headers(1, RESPONSE)
    connection.send_trailers(1, TRAILERS)
    kinds = [kind for kind, *_ in raw.split(connection.data_to_send())]
    assert kinds == [raw.PING] * 900 + [raw.HEADERS] * 2
