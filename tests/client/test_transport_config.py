"""Each documented field of the transport configuration has its documented default and an effect."""

from datetime import timedelta

import pytest

from orbit_net.client import TransportConfig
from orbit_net.errors import ConfigurationError
from orbit_net.status import Status


def test_the_documented_defaults():
    """As Orbit's documentation shows them."""
    config = TransportConfig()
    assert {name: getattr(config, name) for name in TransportConfig.__slots__} == {
        "max_connections_per_endpoint": 10,
        "connect_timeout": 5.0,
        "request_timeout": 30.0,
        "keep_alive_interval": 30.0,
        "keep_alive_timeout": 10.0,
        "max_message_size": 16 * 1024 * 1024,
        "retry_attempts": 3,
        "retry_backoff_initial": 0.1,
        "retry_backoff_multiplier": 2.0,
        "tcp_keepalive": 10.0,
        "http2_adaptive_window": True,
    }


def test_durations():
    """Seconds or timedelta mean the same."""
    assert TransportConfig(connect_timeout=timedelta(milliseconds=1_500)) == TransportConfig(connect_timeout=1.5)
    assert TransportConfig(tcp_keepalive=timedelta(minutes=1)).tcp_keepalive == 60.0


def test_the_channel():
    """Sizes both ways, the time to connect, and the delays between connections."""
    settings = TransportConfig(
        max_message_size=100, connect_timeout=1.5, retry_backoff_initial=0.5, retry_backoff_multiplier=3.0
    ).channel_settings()
    assert (settings.max_receive_message, settings.max_send_message, settings.connect_timeout) == (100, 100, 1.5)
    assert (settings.backoff.initial, settings.backoff.multiplier, settings.backoff.maximum) == (0.5, 3.0, 5.0)
    assert TransportConfig(retry_backoff_initial=9).channel_settings().backoff.maximum == 9


def test_the_calls():
    """The documented delays of the retries, and the timeout of every method."""
    method = TransportConfig(request_timeout=7).service_config().method("/a.B/C")
    assert method.timeout == 7
    retry = method.retry
    assert retry.attempts == 4
    delays = [min(retry.initial_backoff * retry.backoff_multiplier**n, retry.max_backoff) for n in range(3)]
    assert delays == pytest.approx([0.1, 0.2, 0.4])
    assert {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED} <= retry.retryable_status_codes
    assert not {Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.PERMISSION_DENIED} & retry.retryable_status_codes


def test_no_retries_and_many():
    """None for 0, and at most four however many are asked for."""
    assert TransportConfig(retry_attempts=0).service_config().method("/a.B/C").retry is None
    assert TransportConfig(retry_attempts=50).service_config().method("/a.B/C").retry.attempts == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_connections_per_endpoint": 0},
        {"connect_timeout": 0},
        {"connect_timeout": None},
        {"connect_timeout": "5s"},
        {"request_timeout": timedelta(seconds=-1)},
        {"request_timeout": float("nan")},
        {"keep_alive_interval": 0},
        {"keep_alive_timeout": True},
        {"max_message_size": 0},
        {"max_message_size": 1.5},
        {"retry_attempts": -1},
        {"retry_backoff_initial": float("inf")},
        {"retry_backoff_multiplier": 0.5},
        {"retry_backoff_multiplier": "2"},
        {"tcp_keepalive": -1},
    ],
)
def test_a_wrong_field(wrong):
    """The error names the field, the value and what is allowed."""
    [name] = wrong
    with pytest.raises(ConfigurationError, match=rf"TransportConfig\.{name} is .*; it must be "):
        TransportConfig(**wrong)


def test_keeping_alive():
    """Both kinds of keepalive and the adaptive window reach the connection; None switches the probing off."""
    settings = TransportConfig(keep_alive_interval=40, keep_alive_timeout=4, tcp_keepalive=5).channel_settings()
    upkeep = settings.upkeep()
    assert (upkeep.keepalive.time, upkeep.keepalive.timeout, upkeep.keepalive.tcp_time) == (40, 4, 5)
    assert upkeep.adaptive_window
    off = TransportConfig(
        keep_alive_interval=None, keep_alive_timeout=None, tcp_keepalive=None, http2_adaptive_window=False
    ).channel_settings()
    assert (off.keepalive.time, off.keepalive.timeout, off.keepalive.tcp_time) == (None, 20, None)
    assert not off.upkeep().adaptive_window
