"""Clusters in bad conditions: the properties of figure 3 hold after every step, and clients see one register."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftsim import Broken, World, run, simulate

pytestmark = pytest.mark.once

EPOCHS = 3


@pytest.mark.parametrize("seed", range(1, 1 + EPOCHS))
def test_every_property_holds_after_every_step(seed):
    """Elections, commits, snapshots and changes of members happen, and nothing breaks (figure 3)."""
    world = simulate(seed, 20_000)
    assert world.checks.highest > 50


def test_a_seed_repeats():
    """The same seed gives the same run, so that a failure can be looked at again."""
    first, second = simulate(7, 2_000), simulate(7, 2_000)
    assert list(map(repr, first.trace)) == list(map(repr, second.trace))
    assert (first.now, first.checks.highest) == (second.now, second.checks.highest)


def test_a_seed_repeats_in_another_process():
    """What a process randomises, as the order of sets, changes nothing."""
    program = "import sys; sys.path.append(sys.argv[1]); from raftsim import simulate; print(simulate(7, 4000).now)"
    support = str(Path(__file__).parents[1] / "support")
    told = {
        subprocess.run(
            [sys.executable, "-c", program, support],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_broken_property_is_told_with_the_command_that_repeats_it(monkeypatch):
    """The command line fails and names the seed."""

    def broken(self, steps):
        raise Broken("election safety")

    monkeypatch.setattr(World, "run", broken)
    said = []
    assert not run(5, 300, said.append)
    assert "replay: make sim-raft SEED=5 STEPS=300" in said[0]
