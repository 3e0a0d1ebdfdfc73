"""Outlier detection (gRFC A50) on counts alone: who is ejected, for how long, and how many."""

from random import Random

import pytest

from orbit_net.client.balance import FailurePercentage, OutlierDetection, SuccessRate
from orbit_net.client.balance.outlier import Outliers
from orbit_net.errors import ConfigurationError

pytestmark = pytest.mark.once

HOSTS = [f"h{number}" for number in range(10)]


def outliers(**options):
    """Return a detector of ten hosts."""
    found = Outliers(OutlierDetection(**options))
    found.keep(HOSTS)
    return found


def traffic(found, *, bad=(), calls=100, failed=90, ok=0):
    """Let each host answer; ``failed`` of a hundred calls fail on the bad ones, ``ok`` on the others."""
    for host, record in found.records.items():
        wrong = calls * (failed if host in bad else ok) // 100
        for number in range(calls):
            record.count(ok=number >= wrong)


def test_the_one_bad_of_ten_is_ejected_and_taken_back():
    """By its rate of success; after 30 s it is tried again, and after a second failure it stays out for 60 s."""
    found, random = outliers(), Random(1)
    traffic(found, bad=["h3"])
    assert found.sweep(10.0, random) == ["h3"]
    assert found.is_ejected("h3")
    assert found.sweep(20.0, random) == []
    assert found.sweep(39.9, random) == []
    assert found.sweep(40.0, random) == ["h3"]
    assert not found.ejected
    traffic(found, bad=["h3"])
    assert found.sweep(50.0, random) == ["h3"]
    assert found.sweep(100.0, random) == []
    assert found.sweep(110.0, random) == ["h3"]


def test_good_behaviour_is_remembered():
    """Each sweep without an ejection takes one off the multiplier, so that the next ejection is short again."""
    found, random = outliers(), Random(1)
    traffic(found, bad=["h3"])
    found.sweep(10.0, random)
    found.sweep(40.0, random)
    assert found.records["h3"].multiplier == 1
    traffic(found)
    found.sweep(50.0, random)
    assert found.records["h3"].multiplier == 0
    found.sweep(60.0, random)
    assert found.records["h3"].multiplier == 0, "it never goes below zero"


def test_the_longest_ejection():
    """The time grows by the number of ejections up to ``max_ejection``."""
    found, random = outliers(max_ejection=45.0), Random(1)
    now = 0.0
    for _ in range(3):
        traffic(found, bad=["h3"])
        found.sweep(now, random)
        assert found.is_ejected("h3")
        now += 45.0
        found.sweep(now, random)
        assert not found.is_ejected("h3")


def test_no_more_than_the_share():
    """Two are bad and one may be ejected: 10 % of ten."""
    found = outliers(failure_percentage=FailurePercentage(), success_rate=None)
    traffic(found, bad=["h3", "h4"])
    assert found.sweep(10.0, Random(1)) == ["h3"]
    traffic(found, bad=["h4"])
    assert found.sweep(20.0, Random(1)) == []
    half = outliers(failure_percentage=FailurePercentage(), success_rate=None, max_ejected_percent=50)
    traffic(half, bad=HOSTS[:8])
    assert half.sweep(10.0, Random(1)) == HOSTS[:5]
    none = outliers(max_ejected_percent=0)
    traffic(none, bad=["h3"])
    assert none.sweep(10.0, Random(1)) == []


def test_too_few_calls_or_hosts_say_nothing():
    """99 calls are not judged where 100 are asked for, and four hosts are not compared where five are."""
    found = outliers()
    traffic(found, bad=["h3"], calls=99, failed=90)
    assert found.sweep(10.0, Random(1)) == []
    few = Outliers(OutlierDetection())
    few.keep(HOSTS[:4])
    traffic(few, bad=["h3"])
    assert few.sweep(10.0, Random(1)) == []


def test_counts_do_not_outlive_their_interval():
    """60 calls in each of two intervals are not 120 in one."""
    found = outliers()
    for now in (10.0, 20.0):
        traffic(found, bad=["h3"], calls=60)
        assert found.sweep(now, Random(1)) == []


def test_all_equally_bad():
    """Nobody is worse than the mean; by the percentage of failures one is."""
    found = outliers()
    traffic(found, ok=90)
    assert found.sweep(10.0, Random(1)) == []
    found = outliers(failure_percentage=FailurePercentage(threshold=85))
    traffic(found, ok=90)
    assert len(found.sweep(10.0, Random(1))) == 1
    found = outliers(failure_percentage=FailurePercentage(threshold=90))
    traffic(found, ok=90)
    assert found.sweep(10.0, Random(1)) == [], "the threshold itself is allowed"


def test_enforcement_is_a_chance():
    """At 0 % nobody is ejected, at 30 % about three in ten of those found."""
    ejected = 0
    for seed in range(500):
        found = outliers(success_rate=SuccessRate(enforcement=30))
        traffic(found, bad=["h3"])
        ejected += bool(found.sweep(10.0, Random(seed)))
    assert 110 < ejected < 190
    never = outliers(success_rate=SuccessRate(enforcement=0))
    traffic(never, bad=["h3"])
    assert never.sweep(10.0, Random(1)) == []


def test_hosts_come_and_go():
    """One that stays keeps its record; one that comes back begins anew."""
    found = outliers()
    traffic(found, bad=["h3"])
    found.sweep(10.0, Random(1))
    found.keep(HOSTS[1:])
    assert found.is_ejected("h3")
    found.keep(HOSTS[:3])
    found.keep(HOSTS)
    assert not found.is_ejected("h3")
    assert not found.is_ejected("unknown")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interval": 0}, "interval is 0; it must be a number of seconds above 0"),
        ({"max_ejected_percent": 101}, "max_ejected_percent is 101; it must be an integer from 0 to 100"),
        ({"child": OutlierDetection()}, "child is .* another policy"),
    ],
)
def test_bad_settings(options, text):
    """The error names what, the value, and what is allowed."""
    with pytest.raises(ConfigurationError, match=text):
        OutlierDetection(**options)
    with pytest.raises(ConfigurationError, match=r"FailurePercentage\.threshold is -1"):
        FailurePercentage(threshold=-1)
