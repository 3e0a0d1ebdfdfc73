"""The ``grpc-timeout`` header (PROTOCOL-HTTP2, "Timeout")."""

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbit_net.wire.timeouts import decode_timeout, encode_timeout
from wirefuzz import fuzz


@given(st.floats(min_value=1e-9, max_value=99_999_999 * 3_600, allow_nan=False))
@example(0.01)
@example(99_999.999)
@example(100_000.0)
@example(1e-5)
@example(5e-324)
@fuzz(500)
def test_a_timeout_is_at_most_eight_digits_and_not_shorter_than_asked(seconds):
    """The value rounds up, by less than its unit; grpclib writes more than eight digits."""
    value = encode_timeout(seconds)
    assert 2 <= len(value) <= 9
    assert value[:-1].isdigit()
    decoded = decode_timeout(value)
    unit = decode_timeout(b"1" + value[-1:])
    assert seconds - max(2e-9, seconds * 1e-9) <= decoded <= seconds + unit * 1.000001


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (1, b"1000m"),
        (0.25, b"250m"),
        (0.1, b"100m"),
        (1e-3, b"1000u"),
        (1e-6, b"1000n"),
        (1e-12, b"1n"),
        (100_000, b"100000S"),
        (10**8, b"1666667M"),
        (10**10, b"2777778H"),
        (10**20, b"99999999H"),
        (math.inf, b"99999999H"),
    ],
)
def test_timeouts_as_they_are_written(seconds, value):
    """Equal timeouts give equal bytes; what is too long becomes the longest."""
    assert encode_timeout(seconds) == value


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3_600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"0S", 0),
        (b"00000001S", 1),
        (b"99999999H", 99_999_999 * 3_600),
    ],
)
def test_timeouts_are_read_in_every_unit(value, seconds):
    """Hours to nanoseconds, one to eight digits."""
    assert decode_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"S",
        b"1",
        b"1s",
        b"1h",
        b"1ms",
        b"-1S",
        b"+1S",
        b"1.5S",
        b" 1S",
        b"1S ",
        b"1S\n",
        b"123456789S",
        b"1_0S",
        "٣S".encode(),
    ],
)
def test_a_malformed_timeout_is_an_error(value):
    """Anything else raises ValueError, which a server answers with INTERNAL."""
    with pytest.raises(ValueError, match="grpc-timeout"):
        decode_timeout(value)


@given(st.binary(max_size=12))
@fuzz(200)
def test_any_timeout_is_read_or_refused(value):
    """No other exception."""
    with contextlib.suppress(ValueError):
        assert decode_timeout(value) >= 0
