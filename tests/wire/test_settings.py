"""Our settings and the peer's (RFC 9113 §6.5)."""

import pytest
from h2.errors import ErrorCodes

import rawframes as raw
from orbit_net.errors import ConfigurationError, RemoteProtocolError
from orbit_net.wire import Connection, FloodLimits, WireSettings
from orbit_net.wire.settings import PeerSettings, parse_settings


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("stream_window", 64, 2**31 - 1),
        ("connection_window", 65_535, 2**31 - 1),
        ("max_concurrent_streams", 1, 2**32 - 1),
        ("max_frame_size", 16_384, 2**24 - 1),
        ("max_header_list", 1_024, 2**32 - 1),
        ("max_message", 0, 2**32 - 1),
        ("send_high_water", 1, 2**32 - 1),
    ],
)
def test_a_bad_setting_is_named_with_its_range(name, low, high):
    """A value out of range raises when it is given, and the text says what is allowed."""
    for value in (low, high):
        assert getattr(WireSettings(**{name: value}), name) == value
    for value in (low - 1, high + 1, -1):
        with pytest.raises(ConfigurationError) as caught:
            WireSettings(**{name: value})
        assert all(word in str(caught.value) for word in (name, repr(value), str(low), str(high)))


@pytest.mark.parametrize("name", FloodLimits.__slots__)
def test_a_bad_limit_is_named(name):
    """Every limit of abuse is positive."""
    with pytest.raises(ConfigurationError, match=name):
        FloodLimits(**{name: 0})


def test_the_defaults_are_those_of_the_protocol_and_of_grpc():
    """What the first SETTINGS of each side says by default."""
    pairs = dict(WireSettings().pairs(client=False))
    assert pairs == {1: 4_096, 4: 262_144, 5: 16_384, 6: 16_384, 3: 100}
    assert dict(WireSettings().pairs(client=True)) == {1: 4_096, 4: 262_144, 5: 16_384, 6: 16_384, 2: 0}


def test_the_first_frame_says_what_was_set():
    """The settings reach the wire."""
    settings = WireSettings(
        stream_window=70_000, max_concurrent_streams=7, max_frame_size=20_000, max_header_list=9_999
    )
    hello = Connection(client=False, settings=settings).data_to_send()
    [(_, _, _, payload), *_] = raw.split(hello)
    assert dict(parse_settings(payload, 0, len(payload))) == {1: 4_096, 4: 70_000, 5: 20_000, 6: 9_999, 3: 7}


def test_a_peer_has_the_defaults_until_it_speaks():
    """RFC 9113 §6.5.2, and 100 streams as gRPC clients assume."""
    peer = PeerSettings(peer_is_client=False)
    assert (peer.initial_window, peer.max_frame_size, peer.header_table_size) == (65_535, 16_384, 4_096)
    assert (peer.max_header_list, peer.max_concurrent_streams, peer.received) == (None, 100, False)
    peer.apply([])
    assert (peer.max_concurrent_streams, peer.received) == (2**32 - 1, True)


def test_the_last_of_equal_settings_counts_and_each_is_checked():
    """RFC 9113 §6.5.3: values are processed in the order in which they appear."""
    peer = PeerSettings(peer_is_client=True)
    peer.apply([(4, 1), (4, 2), (0xBEEF, 9), (6, 500), (2, 1)])
    assert (peer.initial_window, peer.max_header_list) == (2, 500)
    with pytest.raises(RemoteProtocolError) as caught:
        peer.apply([(4, 2**31), (4, 5)])
    assert caught.value.error_code is ErrorCodes.FLOW_CONTROL_ERROR


def test_a_client_takes_no_pushes():
    """A client says so, and a server must not say that it would take any (RFC 9113 §6.5.2)."""
    PeerSettings(peer_is_client=False).apply([(2, 0)])
    with pytest.raises(RemoteProtocolError):
        PeerSettings(peer_is_client=False).apply([(2, 1)])
