"""The counters against floods by themselves."""

import pytest

from orbit_net.errors import RemoteProtocolError
from orbit_net.wire import FloodLimits
from orbit_net.wire.limits import FloodGuard, TokenBucket


def test_a_bucket_is_full_at_first_and_refills_with_time():
    """``size`` at once, ``rate`` a second, never more than ``size``."""
    bucket = TokenBucket(3, 2.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert [bucket.take(99.0) for _ in range(4)] == [True, True, True, False]
    bucket.give(100)
    assert bucket.tokens == 3


def test_the_limits_can_be_set():
    """Each limit is its own number."""
    guard = FloodGuard(FloodLimits(resets=2, control=3, empty=1))
    for count, method in ((2, guard.reset), (3, guard.control), (3, guard.window_update)):
        for _ in range(count):
            method()
        with pytest.raises(RemoteProtocolError, match=f"more than {count}"):
            method()
    guard.data(0)
    with pytest.raises(RemoteProtocolError, match="more than 1 empty"):
        guard.data(0)
