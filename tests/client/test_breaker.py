"""The circuit breaker, in virtual time."""

import pytest

from orbit_net.client import BreakerPolicy, BreakerState
from orbit_net.client.pool.breaker import CircuitBreaker
from orbit_net.errors import ConfigurationError

POLICY = BreakerPolicy(failures=3, isolation=10.0, max_isolation=35.0, probes=4)


def opened(now=0.0, policy=POLICY):
    """Return a breaker that has just opened."""
    breaker = CircuitBreaker(policy)
    for _ in range(policy.failures):
        breaker.failed(breaker.begin(now), now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_in_a_row():
    """A success between failures begins the count anew."""
    breaker = CircuitBreaker(POLICY)
    for outcome in ("failed", "failed", "succeeded", "failed", "failed"):
        ticket = breaker.begin(0.0)
        breaker.failed(ticket, 0.0) if outcome == "failed" else breaker.succeeded(ticket)
    assert breaker.state is BreakerState.CLOSED
    assert repr(breaker) == "<CircuitBreaker closed, 2 failures>"
    breaker.failed(breaker.begin(0.0), 0.0)
    assert breaker.state is BreakerState.OPEN


def test_isolation():
    """An open circuit lets nothing through until its time is over, then one call."""
    breaker = opened()
    assert breaker.refuses(9.9)
    assert breaker.begin(9.9) is None
    assert not breaker.refuses(10.0)
    assert breaker.begin(10.0) is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.begin(10.0) is None
    assert repr(breaker) == "<CircuitBreaker half-open, 1 of 1 probes>"


def test_gradual_recovery():
    """Each success doubles how many calls may be under way, until all may."""
    breaker = opened()
    sizes = []
    while breaker.state is not BreakerState.CLOSED:
        tickets = []
        while (ticket := breaker.begin(10.0)) is not None:
            tickets.append(ticket)
        sizes.append(len(tickets))
        breaker.succeeded(tickets[0])
        for ticket in tickets[1:]:
            breaker.abandoned(ticket)
    assert sizes == [1, 2, 4]
    assert all(breaker.begin(10.0) is not None for _ in range(100))


def test_a_failed_probe():
    """It isolates the endpoint again for twice as long, up to the maximum."""
    breaker, now, lengths = opened(), 0.0, []
    for _ in range(4):
        length = 0.0
        while breaker.refuses(now + length):
            length += 1.0
        lengths.append(length)
        now += length
        breaker.failed(breaker.begin(now), now)
    assert lengths == [10.0, 20.0, 35.0, 35.0]


def test_recovery_forgets():
    """After a recovery the first isolation is as short as it was."""
    breaker = opened()
    now = 10.0
    breaker.failed(breaker.begin(now), now)
    now = 30.0
    while breaker.state is not BreakerState.CLOSED:
        breaker.succeeded(breaker.begin(now))
    for _ in range(3):
        breaker.failed(breaker.begin(now), now)
    assert breaker.refuses(now + 9.9)
    assert not breaker.refuses(now + 10.0)


def test_late_answers():
    """What a call says that began before the last change of state does not count."""
    breaker = CircuitBreaker(POLICY)
    late = [breaker.begin(0.0) for _ in range(6)]
    for ticket in late[:3]:
        breaker.failed(ticket, 0.0)
    breaker.failed(late[3], 5.0)
    assert not breaker.refuses(10.0)
    probe = breaker.begin(10.0)
    breaker.failed(late[4], 10.0)
    breaker.succeeded(late[5])
    assert repr(breaker) == "<CircuitBreaker half-open, 1 of 1 probes>"
    breaker.succeeded(probe)
    assert repr(breaker) == "<CircuitBreaker half-open, 0 of 2 probes>"


def test_a_probe_that_is_left():
    """A caller that goes away gives its place back."""
    breaker = opened()
    breaker.abandoned(breaker.begin(10.0))
    assert breaker.begin(10.0) is not None


def test_a_probe_without_an_end():
    """A stream that stays open does not keep others from trying for longer than the isolation."""
    breaker = opened()
    assert breaker.begin(10.0) is not None
    assert breaker.begin(19.9) is None
    assert breaker.begin(20.0) is not None


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"probes": 0}, {"isolation": 0.0}, {"isolation": 301.0}, {"max_isolation": 1.0}]
)
def test_a_wrong_policy(wrong):
    """The error names the field."""
    with pytest.raises(ConfigurationError, match="BreakerPolicy"):
        BreakerPolicy(**wrong)
