"""Simulates seed after seed, and says how to repeat the one that breaks."""

from __future__ import annotations

import argparse
import time

from raftsim.world import World

__all__ = ["main", "run", "simulate"]

EPOCH = 20_000
"""Steps with one seed; then the next seed begins a new cluster."""


def simulate(seed, steps, variant=None):
    """Run one cluster and return its world; raises what breaks."""
    world = World(seed, variant)
    try:
        world.run(steps)
    except Exception as error:
        error.add_note(f"replay: make sim-raft SEED={seed} STEPS={steps}")
        error.world = world
        raise
    return world


def run(seed, steps, say=print):
    """Run ``steps`` in all; return whether everything held."""
    started = time.perf_counter()
    left, elections, committed, operations = steps, 0, 0, 0
    while left > 0:
        try:
            world = simulate(seed, min(left, EPOCH))
        except Exception as error:  # noqa: BLE001 - any exception is a defect
            trace = "\n".join(f"  {at:9.2f} {what}" for at, what in list(error.world.trace)[-40:])
            say(f"{trace}\n{type(error).__name__}: {error}\nreplay: make sim-raft SEED={seed} STEPS={min(left, EPOCH)}")
            return False
        elections += world.checks.elections
        committed += world.checks.highest
        operations += sum(map(len, world.history.values()))
        left -= EPOCH
        seed += 1
    seconds = time.perf_counter() - started
    say(
        f"{steps:,} steps in {seconds:.1f} s: {elections:,} elections, {committed:,} entries committed, "
        f"{operations:,} client operations linearizable; every property held after every step"
    )
    return True


def main(arguments=None):
    """Return 0, or 1 when a property broke."""
    parser = argparse.ArgumentParser(description="Simulate Raft clusters in bad conditions.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    return 0 if run(options.seed, options.steps, lambda text: print(text, flush=True)) else 1
