"""The delays between connection attempts (gRPC *connection-backoff*)."""

from random import Random

import pytest

from orbit_net.client import BackoffPolicy
from orbit_net.errors import ConfigurationError


def test_the_formula_of_the_document():
    """1 s, times 1.6 after each failure, at most 120 s, without jitter."""
    policy = BackoffPolicy(jitter=0)
    delays = [policy.delay(failures, Random(1)) for failures in range(1, 15)]
    assert delays[:4] == pytest.approx([1, 1.6, 2.56, 4.096])
    assert delays[-1] == 120
    assert policy.delay(10**9, Random(1)) == 120


def test_jitter_stays_within_a_fifth():
    """Each delay is within ± 20 % of the formula, and both halves occur."""
    policy, random = BackoffPolicy(), Random(5)
    delays = [policy.delay(2, random) for _ in range(500)]
    assert min(delays) >= 1.6 * 0.8
    assert max(delays) <= 1.6 * 1.2
    assert min(delays) < 1.6 * 0.85
    assert max(delays) > 1.6 * 1.15


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"initial": 0}, "initial is 0"),
        ({"initial": 2, "maximum": 1}, "initial is 2"),
        ({"multiplier": 0.5}, "multiplier is 0.5"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": 1}, "jitter is 1"),
    ],
)
def test_bad_settings(settings, named):
    """A value that makes no sense is refused by name."""
    with pytest.raises(ConfigurationError, match=named):
        BackoffPolicy(**settings)
