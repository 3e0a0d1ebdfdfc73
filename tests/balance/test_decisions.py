"""The pure decisions of the policies: no event loop, no clock, and chance from a seed."""

import time
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from orbit_net.client import Connectivity
from orbit_net.client.balance import LeastRequest, PickFirst, RingHash, WeightedRoundRobin
from orbit_net.client.balance.aggregate import aggregate, aggregate_ring
from orbit_net.client.balance.least_request import least_busy
from orbit_net.client.balance.race import Race, interleave
from orbit_net.client.balance.ring import Ring
from orbit_net.client.balance.round_robin import Turns
from orbit_net.client.balance.shares import Shares, usable
from orbit_net.client.balance.weight import ReportedWeight
from orbit_net.client.balance.xxhash import xxh64
from orbit_net.errors import ConfigurationError
from orbit_net.net import TcpAddress, UnixAddress

pytestmark = pytest.mark.once

SEED = 20261127
IDLE, CONNECTING, READY, FAILING = (
    Connectivity.IDLE,
    Connectivity.CONNECTING,
    Connectivity.READY,
    Connectivity.TRANSIENT_FAILURE,
)


@pytest.fixture
def random():
    """Return the same chance each time; a failure shows the seed."""
    print(f"seed {SEED}")
    return Random(SEED)


# --- round robin -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 2, 7])
def test_turns_are_fair_at_every_moment(start):
    """After any number of picks no item is ahead of another by more than one."""
    turns, counts = Turns("abc", start), Counter(dict.fromkeys("abc", 0))
    first = turns.pick()
    counts[first] += 1
    assert first == "abc"[start % 3]
    for _ in range(100):
        counts[turns.pick()] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


# --- weighted round robin ----------------------------------------------------------------------------


def test_shares_follow_weights(random):
    """1,000 picks come within two of what the weights say, whatever their unit."""
    for unit in (1.0, 1e-6, 1e9):
        weights = [unit * weight for weight in (1, 2, 3, 4)]
        shares = Shares("abcd", weights, random)
        counts = Counter(shares.pick() for _ in range(1_000))
        for item, weight in zip("abcd", (100, 200, 300, 400), strict=True):
            assert abs(counts[item] - weight) <= 2


def test_shares_are_evenly_spread(random):
    """An item with half of the weight never has a long run of its own; one with a tenth comes regularly."""
    shares = Shares("abcdef", [5, 1, 1, 1, 1, 1], random)
    picked = "".join(shares.pick() for _ in range(1_000))
    assert "aaaa" not in picked
    for item in "bcdef":
        places = [place for place, one in enumerate(picked) if one == item]
        assert max(b - a for a, b in pairwise(places)) <= 14


def test_new_schedules_are_not_biased(random):
    """A schedule that is made again after each pick gives every item about its share all the same."""
    weights = [1.0] * 8 + [2.0] * 4
    counts = Counter(Shares(range(12), weights, random).pick() for _ in range(20_000))
    heavy = sum(counts[item] for item in range(8, 12)) / 20_000
    assert heavy == pytest.approx(0.5, abs=0.03)


def test_weights_that_are_not_known_are_the_mean():
    """gRFC A58: the mean of the others; with fewer than two there is nothing to compare."""
    assert usable([0, 2, 4]) == [3, 2, 4]
    assert usable([0, 2, 0]) is None
    assert usable([]) is None


def test_the_weight_of_a_report():
    """gRFC A58: calls a second over what is in use, and errors count on top."""
    settings = WeightedRoundRobin(blackout=0)
    weight = ReportedWeight()
    weight.report(0.0, utilization=0.5, qps=100, eps=0, penalty=1.0)
    assert weight.now(0.0, settings) == 200
    weight.report(0.0, utilization=0.5, qps=100, eps=50, penalty=1.0)
    assert weight.now(0.0, settings) == 100
    weight.report(0.0, utilization=0.5, qps=100, eps=50, penalty=0.0)
    assert weight.now(0.0, settings) == 200
    for utilization, qps in ((0, 100), (0.5, 0), (float("nan"), 100), (float("inf"), 1), (0.5, float("nan"))):
        weight.report(0.0, utilization=utilization, qps=qps, eps=0, penalty=1.0)
        assert weight.now(0.0, settings) == 200, "a report that says nothing is ignored"


def test_blackout_and_expiry():
    """A weight counts 10 s after the first report, until 3 min after the last; a new connection begins anew."""
    settings, weight = WeightedRoundRobin(), ReportedWeight()
    report = {"utilization": 0.5, "qps": 50, "eps": 0, "penalty": 1.0}
    assert weight.now(0.0, settings) == 0
    weight.report(100.0, **report)
    assert weight.now(109.9, settings) == 0
    assert weight.now(110.0, settings) == 100
    assert weight.now(279.9, settings) == 100
    assert weight.now(280.0, settings) == 0
    weight.report(300.0, **report)
    assert weight.now(309.9, settings) == 0, "after an expiry there is a blackout"
    assert weight.now(310.0, settings) == 100
    weight.restart()
    weight.report(320.0, **report)
    assert weight.now(329.0, settings) == 0
    assert weight.now(330.0, settings) == 100


# --- least request -----------------------------------------------------------------------------------


class Busy:
    """Something with open calls."""

    def __init__(self, active=0):
        self.active = active


def test_two_choices_hardly_ever_take_the_busiest(random):
    """The busiest of ten is chosen only when it is drawn twice: one time in a hundred."""
    items = [Busy(number) for number in range(10)]
    counts = Counter(least_busy(items, random, 2).active for _ in range(20_000))
    assert counts[9] / 20_000 == pytest.approx(0.01, abs=0.004)
    assert counts[0] / 20_000 == pytest.approx(0.19, abs=0.02)
    assert [counts[n] for n in range(10)] == sorted(counts.values(), reverse=True)


def test_two_choices_keep_loads_together(random):
    """Calls that never end spread over 100 backends with a few of difference, where chance alone would have dozens."""
    items = [Busy() for _ in range(100)]
    for _ in range(10_000):
        least_busy(items, random, 2).active += 1
    assert max(item.active for item in items) - min(item.active for item in items) <= 10


# --- ring hash ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 4952883123889572249),
        (b"ABC", 0xE66AE7354FCFEE98),
        (b"xxhash", 0x32DD38952C4BC720),
        (b"abcdefghijklmnopqrstuvwxyz12345", 0x467605901B01D6F6),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_xxh64(data, digest):
    """The values that other implementations publish; the last one is longer than a stripe."""
    assert xxh64(data) == digest


def test_the_size_of_a_ring():
    """gRFC A42: the lightest host has a whole number of places, so that there are at least the smallest number."""
    assert len(Ring.of([("a:1", 1.0)], smallest=1_024, largest=4_096)) == 1_024
    assert len(Ring.of([(f"h{n}:1", 1.0) for n in range(10)], smallest=1_024, largest=4_096)) == 1_030
    assert len(Ring.of([("a:1", 1.0), ("b:1", 3.0)], smallest=1_024, largest=4_096)) == 1_024
    assert len(Ring.of([(f"h{n}:1", 1.0) for n in range(10)], smallest=8_000, largest=8_000)) == 8_000


def test_a_ring_gives_shares_by_weight():
    """Twice the weight, twice the keys, within what 4,096 places allow."""
    ring = Ring.of([("a:1", 1.0), ("b:1", 2.0), ("c:1", 1.0)], smallest=4_096, largest=4_096)
    counts = Counter(ring.find(xxh64(b"key %d" % n)) for n in range(20_000))
    for host, part in enumerate((0.25, 0.5, 0.25)):
        assert counts[host] / 20_000 == pytest.approx(part, abs=0.04)
        assert ring.share(host) == pytest.approx(counts[host] / 20_000, abs=0.015)


NAMES = [f"10.0.0.{n}:50051" for n in range(10)]
KEYS = [xxh64(b"user-%d" % n) for n in range(20_000)]


def ring_of(names, settings, weight=1.0):
    """Return the ring of hosts of one weight."""
    smallest, largest = settings.min_ring_size, settings.max_ring_size
    return Ring.of([(name, weight) for name in names], smallest=smallest, largest=largest, places=settings.places)


@pytest.mark.parametrize("gone", range(10))
def test_a_host_that_leaves_moves_only_its_share(gone):
    """Of ten hosts one leaves: its keys move, to all the others, and no other key does; and back when it returns."""
    before = ring_of(NAMES, RingHash())
    rest = NAMES[:gone] + NAMES[gone + 1 :]
    after = ring_of(rest, RingHash())
    moved = [(NAMES[before.find(key)], rest[after.find(key)]) for key in KEYS]
    moved = [(old, new) for old, new in moved if old != new]
    assert {old for old, _ in moved} == {NAMES[gone]}
    assert len(moved) / len(KEYS) == pytest.approx(before.share(gone), abs=0.01)
    assert len({new for _, new in moved}) == 9
    assert 0.07 < before.share(gone) < 0.13


def test_a_ring_of_the_grfc_moves_twice_the_share_at_most():
    """There the places of all hosts grow when one leaves, because the ring keeps its size."""
    before, after = (ring_of(names, RingHash(places=None)) for names in (NAMES, NAMES[:9]))
    moved = sum(before.find(key) != after.find(key) for key in KEYS) / len(KEYS)
    assert before.share(9) <= moved <= 2.1 * before.share(9)


def test_steady_places():
    """So many for each unit of weight, one at least, and halved while there are too many."""
    hosts = [("a:1", 1.0), ("b:1", 2.0), ("c:1", 0.001)]
    assert len(Ring.of(hosts, smallest=1, largest=4_096, places=100)) == 301
    assert len(Ring.of(hosts, smallest=1, largest=300, places=100)) == 151
    assert len(Ring.of(hosts, smallest=1, largest=2, places=100)) == 3
    assert len(ring_of([f"h{n}:1" for n in range(33)], RingHash())) == 33 * 64
    assert len(ring_of([f"h{n}:1" for n in range(5_000)], RingHash())) == 5_000


def test_passing_over_hosts():
    """Without some hosts their keys go to the next ones around the ring, and all others stay."""
    ring = ring_of(NAMES, RingHash())
    for live in ({0, 1, 2, 3, 4, 5, 6, 7, 8}, {2, 7}, {5}):
        rest = ring.only(live)
        for key in KEYS[:2_000]:
            home = ring.find(key)
            assert rest.find(key) == home or home not in live
            assert rest.find(key) in live
    assert len(ring.only(())) == 0
    for key in KEYS[:200]:
        around = [ring.find(key), *ring.following(key, 10_000)]
        assert len(around) == len(ring)
        assert ring.only({3, 8}).find(key) == next(host for host in around if host in (3, 8))
        assert list(ring.following(key, 5)) == around[1:6]
    assert ring.find((1 << 64) - 1) == ring.find(0), "past the last place comes the first"


# --- pick first --------------------------------------------------------------------------------------


def test_families_alternate():
    """RFC 8305: the first stays the first, then the other family, each in its own order, nothing twice."""
    six = [TcpAddress("::1", n) for n in range(3)]
    four = [TcpAddress("127.0.0.1", n) for n in range(2)]
    assert interleave([*six, *four, six[0]]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave([four[0], *six]) == [four[0], *six]
    assert interleave([UnixAddress("/a"), UnixAddress("/b")]) == [UnixAddress("/a"), UnixAddress("/b")]


def test_a_race():
    """Attempts begin 250 ms apart, or at once after a failure; it is lost when all have failed."""
    race = Race(3, 0.25)
    assert race.due(10.0) == 0
    assert race.due(10.0) is None
    assert race.next_at == 10.25
    assert race.due(10.25) == 1
    race.failed(10.3)
    assert race.due(10.3) == 2
    assert race.next_at == float("inf")
    race.failed(10.4)
    assert not race.lost
    race.failed(30.0)
    assert race.lost
    assert race.due(31.0) is None


# --- states ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "plain", "ring"),
    [
        ([READY, FAILING, FAILING], READY, READY),
        ([CONNECTING, FAILING], CONNECTING, CONNECTING),
        ([IDLE, FAILING], IDLE, CONNECTING),
        ([IDLE, FAILING, FAILING], IDLE, FAILING),
        ([IDLE, CONNECTING], CONNECTING, CONNECTING),
        ([IDLE, IDLE], IDLE, IDLE),
        ([FAILING], FAILING, FAILING),
        ([], FAILING, FAILING),
    ],
)
def test_aggregation(states, plain, ring):
    """The best of all; and a ring fails with its second failure (gRFC A42)."""
    assert aggregate(Counter(states)) is plain
    assert aggregate_ring(Counter(states)) is ring


# --- cost --------------------------------------------------------------------------------------------


def cost(pick, number=5_000):
    """Return the microseconds of one pick, in the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(number):
            pick()
        best = min(best, time.process_time() - began)
    return best / number * 1e6


@pytest.mark.parametrize("count", [10, 10_000])
def test_a_pick_costs_less_than_20_microseconds(count, random):
    """Of ten backends and of ten thousand; the ring of these has 102,400 places at least."""
    items = [Busy(number % 7) for number in range(count)]
    ring = Ring.of([(f"h{n}:1", 1.0) for n in range(count)], smallest=102_400, largest=1_048_576)
    shares = Shares(items, [1 + number % 5 for number in range(count)], random)
    turns = Turns(items, 3)
    costs = {
        "round_robin": cost(turns.pick),
        "weighted_round_robin": cost(shares.pick),
        "least_request": cost(lambda: least_busy(items, random, 2)),
        "ring_hash": cost(lambda: ring.find(xxh64(b"user-%d" % 4711))),
        "ring_hash, no hash": cost(lambda: ring.find(4711 << 50)),
    }
    print(count, {name: round(value, 2) for name, value in costs.items()})
    assert max(costs.values()) < 20, costs


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PickFirst(attempt_delay=0.01), "attempt_delay is 0.01; it must be a number from 0.1 to 2"),
        (lambda: LeastRequest(choices=1), "choices is 1; it must be an integer of at least 2"),
        (lambda: RingHash(min_ring_size=5_000), "min_ring_size is 5000; it must be at most max_ring_size, 4096"),
        (lambda: RingHash(places=0), "places is 0; it must be an integer from 1 to 65536, or None"),
        (lambda: RingHash(header="X-User"), "header is 'X-User'; it must be the key of metadata, in lower case"),
        (lambda: WeightedRoundRobin(update_period=0.01), "update_period is 0.01; it must be a number of at least 0.1"),
        (lambda: WeightedRoundRobin(expiry=0), "expiry is 0; it must be a number of seconds above 0"),
    ],
)
def test_bad_settings(make, text):
    """The error names what, the value, and what is allowed."""
    with pytest.raises(ConfigurationError, match=text.replace("(", r"\(")):
        make()


def test_more_choices_than_ten_are_ten():
    """GRFC A48 caps them."""
    assert LeastRequest(choices=50).choices == 10
