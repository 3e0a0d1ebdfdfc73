"""Answers to streams that were abandoned: of which are they told, and how many are kept in mind."""

from types import SimpleNamespace

from orbit_net.net.forsaken import Forsaken


def stream(number, *, ended=False, failure=None):
    """Return what is asked of a stream; ``released`` is set by its release."""
    made = SimpleNamespace(id=number, ended=ended, failure=failure, released=False)
    made.release = lambda: setattr(made, "released", True)
    return made


def forsaken():
    """Return an empty one, and the streams that its wire looks out for."""
    wire = SimpleNamespace(receiver=SimpleNamespace(awaited=set()))
    return Forsaken(wire), wire.receiver.awaited


def test_an_answer():
    """It is told once."""
    given, awaited = forsaken()
    told = []
    one = stream(1)
    given.add(one, told.append)
    assert one.released
    assert awaited == {1}
    given.answered(1, "trailers")
    given.answered(1, "again")
    given.answered(3, "of another")
    assert told == ["trailers"]
    assert not awaited
    assert repr(given) == "<Forsaken 0 streams>"


def test_streams_that_are_over():
    """Nothing comes of a stream that has ended or failed."""
    given, awaited = forsaken()
    for over in (stream(1, ended=True), stream(3, failure="lost")):
        given.add(over, print)
        assert over.released
    assert not awaited
    assert not len(given)


def test_the_bound():
    """The oldest are forgotten, here and in the wire."""
    given, awaited = forsaken()
    told = []
    for number in range(1, 2_101, 2):
        given.add(stream(number), told.append)
    assert len(given) == len(awaited) == 1_024
    assert min(awaited) == 2_099 - 2 * 1_023
    given.answered(1, "too late")
    given.answered(2_099, "in time")
    assert told == ["in time"]
