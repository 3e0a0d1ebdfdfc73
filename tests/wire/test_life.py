"""Maximum idleness, age and grace on a virtual clock (gRFC A9)."""

import pytest

from orbit_net.errors import ConfigurationError
from orbit_net.wire import LifeSettings
from orbit_net.wire.life import AGE_JITTER, Farewell, Life

NEVER = float("inf")


def test_all_is_off_by_default():
    """A connection lives as long as both sides want."""
    assert LifeSettings() == LifeSettings(max_idle=None, max_age=None, age_grace=None)
    life = Life(LifeSettings(), born=0.0, chance=1.0)
    assert life.due(0.0) == life.due(None) == NEVER
    assert life.act(1e12, 0.0) is None


@pytest.mark.parametrize("name", ["max_idle", "max_age", "age_grace"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_times_are_positive(name, value):
    """A time that is none is refused, and the text says which."""
    with pytest.raises(ConfigurationError, match=f"{name} is {value}"):
        LifeSettings(**{name: value})


def test_idleness():
    """Counted from the end of the last call; a connection with calls is never idle; told once."""
    life = Life(LifeSettings(max_idle=60), born=0.0, chance=0.0)
    assert life.due(10.0) == 70.0
    assert life.act(1e6, None) is None
    assert life.act(69.9, 10.0) is None
    assert life.act(70.0, 10.0) == Farewell(b"max_idle")
    assert life.act(1e6, 10.0) is None


@pytest.mark.parametrize(("chance", "age"), [(-1.0, 90.0), (0.0, 100.0), (1.0, 110.0)])
def test_age_differs_by_a_tenth(chance, age):
    """± 10 %, whether or not there are calls."""
    assert AGE_JITTER == 0.1
    life = Life(LifeSettings(max_age=100), born=5.0, chance=chance)
    assert life.due(None) == life.due(5.0) == pytest.approx(5 + age)
    assert life.act(4.9 + age, None) is None
    assert life.act(5.1 + age, None) == Farewell(b"max_age")


def test_without_a_grace_old_calls_may_go_on():
    """The grace is infinite by default."""
    life = Life(LifeSettings(max_age=100), born=0.0, chance=0.0)
    assert life.act(100.0, None) == Farewell(b"max_age")
    assert life.due(None) == NEVER


def test_after_the_grace_the_rest_is_aborted():
    """Counted from the farewell; once."""
    life = Life(LifeSettings(max_age=100, age_grace=10), born=0.0, chance=0.0)
    assert life.act(101.0, None) == Farewell(b"max_age")
    assert life.due(None) == 111.0
    assert life.act(110.9, None) is None
    assert life.act(111.0, None) == Farewell(b"max_age", abort=True)
    assert life.act(1e9, None) is None


def test_idleness_before_age():
    """What comes first is the reason; a grace belongs to age alone."""
    life = Life(LifeSettings(max_idle=10, max_age=100, age_grace=1), born=0.0, chance=0.0)
    assert life.act(10.0, 0.0) == Farewell(b"max_idle")
    assert life.due(0.0) == NEVER
