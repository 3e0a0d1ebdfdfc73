"""How the property tests draw: the same examples in every run."""

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def fuzz(examples):
    """Return the settings of a property test with so many examples: derandomized, no database, no deadline."""
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW)
