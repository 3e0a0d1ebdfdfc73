"""How many examples the property tests of the wire draw."""

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def fuzz(examples):
    """Return the settings of a property test with so many examples, in the profile of the run."""
    return settings(max_examples=examples, suppress_health_check=_SLOW)
