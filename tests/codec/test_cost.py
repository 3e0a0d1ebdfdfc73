"""The time that hostile input takes: bounded by the number of elements, and linear where there is no bound.

CPU time of this process, with bounds about twenty times what an idle machine takes: quadratic work, or one element too
cheap to be counted, takes more than that.
"""

import gc
import time

import pytest

import everything.everything.v1 as ours
from orbit_net.codec import Codec
from orbit_net.errors import DecodeError

pytestmark = pytest.mark.stress

SIZE = 4 * 2**20
REFUSED = 3.0
"""Seconds for 4 MiB at the default limit; 0.14 s for the worst here."""
LINEAR = 5.0
"""Seconds without a limit on elements, for input that takes 0.25 s here."""


def filled(prefix, unit, suffix=b"", size=SIZE):
    """Return about ``size`` bytes of units."""
    return prefix + unit * ((size - len(prefix)) // len(unit)) + suffix


def packed(tag, unit, size=SIZE):
    """Return one packed field of about ``size`` bytes."""
    count = size // len(unit)
    length, rest = bytearray(), count * len(unit)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return tag + bytes([*length, rest]) + unit * count


def spent(codec, data, cls):
    """Return the seconds that decoding takes, whether it succeeds, and how."""
    gc.collect()
    start = time.process_time()
    try:
        codec.decode(data, cls)
        outcome = None
    except DecodeError as error:
        outcome = str(error)
    return time.process_time() - start, outcome


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        pytest.param(filled(b"", b"\x3a\x00"), ours.Everything, id="empty messages"),
        pytest.param(filled(b"", b"\x0a\x00"), ours.Everything, id="one empty message again and again"),
        pytest.param(filled(b"", b"\x0a\x03\xf8\x01\x01"), ours.Everything, id="one message with unknown fields"),
        pytest.param(filled(b"", b"\x1a\x01\x01"), ours.Lists, id="packed fields of one byte"),
        pytest.param(filled(b"", b"\x1a\x00"), ours.Lists, id="empty packed fields"),
        pytest.param(packed(b"\x1a", b"\x81\x01"), ours.Lists, id="packed numbers of two bytes"),
        pytest.param(packed(b"\x22", b"\xff" * 9 + b"\1"), ours.Lists, id="packed numbers of ten bytes"),
        pytest.param(packed(b"\x82\x01", b"\x09"), ours.Lists, id="unknown enum numbers"),
        pytest.param(filled(b"", b"\xf0\x01\x01"), ours.Lists, id="unknown fields"),
        pytest.param(filled(b"\x0b", b"\x08\x01", b"\x0c"), ours.Empty, id="an unknown group"),
        pytest.param(filled(b"", b"\x0b" * 90 + b"\x0c" * 90), ours.Empty, id="groups within groups"),
        pytest.param(filled(b"", b"\x6a\x00"), ours.Maps, id="map entries"),
        pytest.param(filled(b"", b"\x92\x01\x00"), ours.Lists, id="timestamps"),
    ],
)
def test_elements_are_limited(data, cls):
    """More elements than the limit are refused in the time that the limit takes."""
    seconds, outcome = spent(Codec(), data, cls)
    assert outcome is not None
    assert "more than 100000 elements" in outcome
    assert seconds < REFUSED


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        pytest.param(packed(b"\x1a", b"\x01"), ours.Lists, id="packed numbers of one byte"),
        pytest.param(packed(b"\x3a", b"\x01"), ours.Lists, id="packed signed numbers of one byte"),
        pytest.param(packed(b"\x6a", b"\x01"), ours.Lists, id="packed bools"),
        pytest.param(packed(b"\x0a", bytes(8)), ours.Lists, id="packed doubles"),
        pytest.param(packed(b"\x1a", b"\x81\x01", 700_000), ours.Lists, id="350,000 packed numbers of two bytes"),
        pytest.param(packed(b"\x72", b"x"), ours.Scalars, id="a string"),
    ],
)
def test_what_is_read_at_once(data, cls):
    """Values that Python takes all at once are not limited, nor are as many packed numbers as take no longer."""
    seconds, outcome = spent(Codec(), data, cls)
    assert outcome is None
    assert seconds < REFUSED


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        pytest.param(filled(b"", b"\x0a\x03\xf8\x01\x01", size=2**20), ours.Everything, id="a message"),
        pytest.param(filled(b"", b"\x32\x05\x0a\x03\xf8\x01\x01", size=2**20), ours.Everything, id="two levels"),
        pytest.param(filled(b"", b"\x5a\x03\xf8\x01\x01", size=2**20), ours.Everything, id="a member of a oneof"),
        pytest.param(filled(b"", b"\x22\x02\x0a\x00", size=2**20), ours.Everything, id="a map within a message"),
    ],
)
def test_pieces_are_merged_in_linear_time(data, cls):
    """A message that comes in 150,000 pieces is not copied for each."""
    seconds, outcome = spent(Codec(max_elements=10**9), data, cls)
    assert outcome is None
    assert seconds < LINEAR


def test_damage_at_the_end():
    """Looking for the fault takes no longer than a few times the reading."""
    seconds, outcome = spent(
        Codec(), filled(b"", b"\x32\x05\x0a\x03\xf8\x01\x01", b"\x18", size=230_000), ours.Everything
    )
    assert outcome is not None
    assert outcome.startswith("Everything.lists at byte")
    assert seconds < REFUSED
