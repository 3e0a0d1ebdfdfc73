"""When a call is tried again and after how long, without a clock (gRFC A6)."""

from random import Random

import pytest

from orbit_net.client import RetryPolicy, RetryThrottling
from orbit_net.client.retry.replay import Replay, ReplayBudget
from orbit_net.client.retry.retries import Retries, Throttle, backoff, read_pushback
from orbit_net.status import Status


class Always(Random):
    """Draws the same place of every interval."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def uniform(self, a, b):
        return a + (b - a) * self.place


MIDDLE = Always(0.5)


def policy(**changes):
    """Return a policy of four attempts for UNAVAILABLE."""
    fields = {
        "max_attempts": 4,
        "initial_backoff": 0.1,
        "max_backoff": 1.0,
        "backoff_multiplier": 2.0,
        "retryable_status_codes": {Status.UNAVAILABLE},
    }
    return RetryPolicy(**fields | changes)


@pytest.mark.parametrize(("place", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_the_formula(place, factor):
    """The n-th delay is ± 20 % around min(initial × mult^(n−1), max)."""
    given = policy(initial_backoff=0.1, backoff_multiplier=3.0, max_backoff=1.0)
    delays = [backoff(given, retry, Always(place)) for retry in (1, 2, 3, 4)]
    assert delays == pytest.approx([factor * base for base in (0.1, 0.3, 0.9, 1.0)])


def test_the_formula_with_a_shrinking_multiplier():
    """The maximum applies to the product, not to its steps."""
    given = policy(initial_backoff=8.0, backoff_multiplier=0.5, max_backoff=3.0)
    assert [backoff(given, retry, MIDDLE) for retry in (1, 2, 3)] == pytest.approx([3.0, 3.0, 2.0])


def test_a_huge_multiplier():
    """A product beyond all numbers is the maximum."""
    assert backoff(policy(backoff_multiplier=1e300), 4, MIDDLE) == pytest.approx(1.0)


def test_the_delays_are_spread():
    """Delays fill the interval of ± 20 % and never leave it."""
    random = Random(7)
    delays = [backoff(policy(), 1, random) for _ in range(1_000)]
    assert 0.08 <= min(delays) < 0.082
    assert 0.118 < max(delays) <= 0.12


def test_attempts_are_counted():
    """Four attempts are three retries."""
    retries = Retries(policy(), None)
    delays = [retries.delay(Status.UNAVAILABLE, None, MIDDLE) for _ in range(4)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, None])
    assert retries.previous == 3


def test_at_most_five_attempts():
    """A policy of 100 attempts has five."""
    assert policy(max_attempts=100).attempts == 5
    retries = Retries(policy(max_attempts=100), None)
    assert [retries.delay(Status.UNAVAILABLE, None, MIDDLE) is None for _ in range(5)] == [False] * 4 + [True]


def test_only_the_named_statuses():
    """Another status ends the call, and so does every status without a policy."""
    assert Retries(policy(), None).delay(Status.INTERNAL, None, MIDDLE) is None
    assert Retries(None, None).delay(Status.UNAVAILABLE, None, MIDDLE) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"0", 0.0),
        (b"1500", 1.5),
        (b"-1", -1.0),
        (b"soon", -1.0),
        (b"", -1.0),
        (b"1.5", -1.0),
        (b"9" * 4_000, -1.0),
        (b"\xd9\xa1", -1.0),
    ],
)
def test_pushback_is_read(value, expected):
    """Milliseconds become seconds; what is negative or no number means no retry."""
    assert read_pushback(value) == expected


def test_pushback_replaces_the_delay():
    """The server's delay is taken as it is, and the backoff begins anew after it."""
    retries = Retries(policy(max_attempts=5), None)
    delays = [retries.delay(Status.UNAVAILABLE, pushback, MIDDLE) for pushback in (None, None, 7.0, None)]
    assert delays == pytest.approx([0.1, 0.2, 7.0, 0.1])


def test_pushback_does_not_widen_the_policy():
    """A server cannot ask for retries that the policy does not have."""
    assert Retries(policy(), None).delay(Status.INTERNAL, 0.0, MIDDLE) is None
    assert Retries(policy(), None).delay(Status.UNAVAILABLE, -1.0, MIDDLE) is None


def test_tokens():
    """Each retryable failure takes a token, each success gives the ratio, and half of them close the throttle."""
    throttle = Throttle(RetryThrottling(max_tokens=10, token_ratio=0.1))
    for _ in range(4):
        throttle.failed()
    assert (throttle.tokens, throttle.open) == (6.0, True)
    throttle.failed()
    assert (throttle.tokens, throttle.open) == (5.0, False)
    throttle.succeeded()
    assert (throttle.tokens, throttle.open) == (5.1, True)
    assert repr(throttle) == "<Throttle open, 5.1 of 10 tokens>"


def test_tokens_have_bounds():
    """There are never less than none nor more than the maximum."""
    throttle = Throttle(RetryThrottling(max_tokens=2, token_ratio=5.0))
    for _ in range(5):
        throttle.failed()
    assert throttle.tokens == 0
    throttle.succeeded()
    assert throttle.tokens == 2


@pytest.mark.parametrize(("ratio", "gained"), [(0.001, 0.001), (0.2999, 0.299), (0.29, 0.29), (1.0015, 1.001)])
def test_three_decimals(ratio, gained):
    """Of the ratio three decimals count."""
    throttle = Throttle(RetryThrottling(max_tokens=1_000, token_ratio=ratio))
    for _ in range(10):
        throttle.failed()
    throttle.succeeded()
    assert throttle.tokens == pytest.approx(990 + gained)


def test_what_takes_a_token():
    """A retryable status and a pushback that forbids do, another status does not."""
    throttle = Throttle(RetryThrottling(max_tokens=10, token_ratio=1.0))
    Retries(policy(), throttle).delay(Status.INTERNAL, None, MIDDLE)
    assert throttle.tokens == 10
    Retries(policy(), throttle).delay(Status.UNAVAILABLE, None, MIDDLE)
    assert throttle.tokens == 9
    Retries(policy(), throttle).delay(Status.INTERNAL, -1.0, MIDDLE)
    assert throttle.tokens == 8


def test_a_closed_throttle():
    """At half of the tokens nothing is tried again."""
    throttle = Throttle(RetryThrottling(max_tokens=4, token_ratio=1.0))
    retries = Retries(policy(), throttle)
    assert retries.delay(Status.UNAVAILABLE, None, MIDDLE) is not None
    assert retries.delay(Status.UNAVAILABLE, None, MIDDLE) is None
    assert retries.previous == 1


def test_transparent_retries():
    """Without a limit while the call never left us, once when it came as far as the server's transport."""
    retries = Retries(None, None)
    assert all(retries.take_transparent(unsent=True) for _ in range(100))
    assert [retries.take_transparent(unsent=False) for _ in range(3)] == [True, False, False]
    assert retries.take_transparent(unsent=True)
    assert retries.previous == 0


def test_the_budget():
    """A call over its own bound, or over what is left for all, is committed and gives its bytes back."""
    budget = ReplayBudget(1_000, 1_500)
    first, second = Replay(budget), Replay(budget)
    first.record(b"x" * 800)
    second.record(b"x" * 500)
    assert 1_300 <= budget.used <= 1_500
    second.record(b"x" * 100)
    assert second.committed
    assert budget.used <= 900
    first.record(b"x" * 200)
    assert first.committed
    assert budget.used == 0
    first.commit()
    assert repr(budget) == "<ReplayBudget 0 of 1500 bytes>"


def test_empty_messages_are_bounded():
    """Messages without bytes take room too."""
    replay = Replay(ReplayBudget(262_144, 1_048_576))
    for _ in range(100_000):
        replay.record(b"")
        if replay.committed:
            return
    raise AssertionError("100,000 messages are kept")
