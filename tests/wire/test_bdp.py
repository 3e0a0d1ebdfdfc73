"""The bandwidth-delay estimate against simulated lines, and what the wire does with it."""

import pytest

import rawframes as raw
from orbit_net.wire.bdp import MOST_WINDOW, BandwidthEstimator
from orbit_net.wire.events import SettingsReceived
from wirepair import Pair, started_server

WINDOW = 262_144


def run(estimator, *, bandwidth, delay, seconds, chunk=16_384):
    """Send through a line with the window that the estimator asks for; return the final rate and the pings sent."""
    now, arrived, pings, answer_at = 0.0, 0.0, 0, None
    while now < seconds:
        rate = min(bandwidth, estimator.window / delay)
        now += chunk / rate
        arrived += chunk
        if answer_at is not None and now >= answer_at:
            answer_at = None
            estimator.answered(now)
        if estimator.received(chunk, now):
            assert answer_at is None, "two pings under way"
            pings += 1
            answer_at = now + delay
    return min(bandwidth, estimator.window / delay), pings


@pytest.mark.parametrize(("bandwidth", "delay"), [(100e6, 0.1), (1e9, 0.01), (20e6, 0.3), (125e6, 0.04)])
def test_a_long_fast_line_is_filled(bandwidth, delay):
    """The window grows until the line, and not the window, is the limit."""
    estimator = BandwidthEstimator(WINDOW)
    assert WINDOW / delay < bandwidth, "the line must not be full from the start"
    rate, _ = run(estimator, bandwidth=bandwidth, delay=delay, seconds=20 * delay)
    assert rate == bandwidth
    assert estimator.window <= MOST_WINDOW


def test_a_short_line_keeps_its_window():
    """Where the window is not what limits, nothing grows."""
    estimator = BandwidthEstimator(WINDOW)
    run(estimator, bandwidth=10e6, delay=0.001, seconds=2.0)
    assert estimator.window == WINDOW


def test_the_window_is_bounded():
    """16 MiB, however long the line; then no more pings are sent."""
    assert MOST_WINDOW == 16 * 1_048_576
    estimator = BandwidthEstimator(WINDOW)
    run(estimator, bandwidth=1e9, delay=1.0, seconds=20.0)
    assert estimator.window == MOST_WINDOW
    assert not estimator.received(2**30, 99.0)


def test_no_ping_without_data():
    """Small messages never cause one; the first comes when 64 KiB have arrived."""
    estimator = BandwidthEstimator(WINDOW)
    assert not any(estimator.received(1_000, number / 10) for number in range(65))
    assert estimator.received(1_000, 6.5)
    assert not estimator.received(2**20, 6.6)


def test_an_answer_to_nothing():
    """An answer without a question says nothing."""
    assert BandwidthEstimator(WINDOW).answered(1.0) is None


def test_the_wire_announces_larger_windows():
    """SETTINGS for the streams, WINDOW_UPDATE for the connection; the peer may use both at once."""
    server = started_server()
    server.receive_data(raw.headers(1))
    server.grow_windows(8_388_608)
    sent = server.data_to_send()
    [(_, _, _, payload)] = raw.of_kind(sent, raw.SETTINGS)
    assert payload == b"\0\4" + (8_388_608).to_bytes(4, "big")
    assert raw.increments(sent, 0) == 8_388_608 - server.settings.connection_window
    for _ in range(300):
        server.receive_data(raw.data(1, bytes(16_384)))
    assert server.failure is None
    server.receive_data(raw.settings(ack=True))
    assert server.failure is None


def test_a_window_never_shrinks():
    """A smaller estimate changes nothing."""
    server = started_server()
    server.grow_windows(100_000)
    assert server.data_to_send() == b""
    assert server.stream_window == server.settings.stream_window


def test_each_settings_frame_has_its_acknowledgement():
    """Acknowledgements that are due are free; one more than was asked for counts as a control frame."""
    pair = Pair()
    for size in (1_000_000, 2_000_000, 5_000_000):
        pair.server.wire.grow_windows(size)
        pair.pump()
    assert [type(event) for event in pair.client.events].count(SettingsReceived) == 4
    assert pair.server.wire.settings_due == 0
    assert pair.server.wire.failure is None
    assert pair.client.wire.peer.initial_window == 5_000_000
