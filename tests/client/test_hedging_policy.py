"""Whether the next attempt of a hedged call is sent, without a clock (gRFC A6)."""

from orbit_net.client import HedgeTally, HedgingPolicy, RetryThrottling
from orbit_net.client.retry.hedging import Hedges
from orbit_net.client.retry.retries import Throttle
from orbit_net.status import Status


def hedges(*, attempts=3, throttle=None):
    """Return the state of a call for which UNAVAILABLE is not fatal."""
    policy = HedgingPolicy(max_attempts=attempts, hedging_delay=0.5, non_fatal_status_codes={Status.UNAVAILABLE})
    return Hedges(policy, throttle)


def test_attempts_are_numbered_and_bounded():
    """Each knows how many came before it; there are five at most."""
    given = hedges(attempts=3)
    assert [given.take() for _ in range(4)] == [0, 1, 2, None]
    assert not given.more
    given = hedges(attempts=100)
    assert [given.take() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    assert repr(given) == "<Hedges 5 of 5 sent>"


def test_failures():
    """The call goes on after a status that the policy names, and not after any other."""
    given = hedges()
    assert given.failed(Status.UNAVAILABLE, None)
    assert given.failed(Status.UNAVAILABLE, 2.5)
    assert not given.failed(Status.INTERNAL, None)
    assert not given.frozen


def test_pushback_freezes():
    """ "Do not try again" holds for what was not sent yet, and not for the attempts under way."""
    given = hedges()
    assert given.take() == 0
    assert given.failed(Status.UNAVAILABLE, -1.0)
    assert given.frozen
    assert given.take() is None
    assert repr(given) == "<Hedges 1 of 3 sent, frozen>"
    given = hedges()
    assert not given.failed(Status.INTERNAL, -1.0)
    assert given.frozen


def test_the_throttle():
    """Non-fatal failures and refusals take a token, fatal ones do not; the first attempt needs none."""
    throttle = Throttle(RetryThrottling(max_tokens=4, token_ratio=1))
    given = hedges(throttle=throttle)
    given.failed(Status.INTERNAL, None)
    assert throttle.tokens == 4
    given.failed(Status.UNAVAILABLE, None)
    given.failed(Status.INTERNAL, -1.0)
    assert throttle.tokens == 2
    given = hedges(throttle=throttle)
    assert given.take() == 0
    assert given.take() is None
    throttle.succeeded()
    assert given.take() is None  # it stays so for this call
    given = hedges(throttle=throttle)
    assert [given.take(), given.take()] == [0, 1]


def test_a_tally_counts_for_the_whole_too():
    """What happens to a call is counted for its channel."""
    whole = HedgeTally()
    one, other = HedgeTally(whole), HedgeTally(whole)
    one.add(hedges=1, cancelled=2)
    other.add(hedges=1, duplicates=1)
    assert repr(one) == "<HedgeTally 1 hedges, 2 cancelled, 0 duplicates>"
    assert repr(whole) == "<HedgeTally 2 hedges, 2 cancelled, 1 duplicates>"
