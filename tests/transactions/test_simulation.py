"""Transactions in bad conditions: money is conserved, all agree, nothing is forgotten, and nothing stays in doubt."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from txsim import Broken, Variant, World, main, run, simulate

pytestmark = [pytest.mark.timeout(60), pytest.mark.once]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(1, 13))
def test_everything_holds(seed):
    """A hundred transactions over five nodes end well, whatever is lost, late, repeated and crashed."""
    assert simulate(seed).begun > 0


def test_the_bad_luck_is_bad():
    """The variants together crash nodes, lose owners' news, and let transactions commit and abort."""
    worlds = [simulate(seed) for seed in range(100, 120)]
    assert sum(world.crashes for world in worlds) > 100
    assert sum(world.begun for world in worlds) > 1_000
    committed = sum(len(world.checks.decided) for world in worlds)
    begun = sum(world.begun for world in worlds)
    assert 0.15 < committed / begun < 0.9
    assert sum(len(world.checks.told) for world in worlds) < begun


def test_without_bad_luck_most_transactions_commit():
    """In good conditions only those that cannot pay, or meet each other, are aborted."""
    calm = Variant(loss=0.0, repeat=0.0, crash=0.0, delay=0.05, sync=0.01, pace=2.0, accounts=20)
    world = simulate(1, 200, calm)
    assert world.crashes == 0
    assert len(world.checks.decided) > 0.7 * world.begun
    assert len(world.checks.told) == world.begun


def test_a_seed_repeats_in_another_process():
    """What a process randomises, as the order of sets, changes nothing."""
    program = (
        "import sys; sys.path.append(sys.argv[1]); from txsim import simulate; w = simulate(7); print(w.now, w.said)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program, str(ROOT / "tests" / "support")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_broken_property_is_told_with_the_command_that_repeats_it(monkeypatch):
    """The command line fails and names the seed."""

    def broken(self):
        raise Broken("the money is not conserved")

    monkeypatch.setattr(World, "run", broken)
    said = []
    assert not run(5, 3, said.append)
    assert "replay: make sim-tx SEED=5 RUNS=1" in said[0]
    assert main(["--seed", "5", "--runs", "1"]) == 1
