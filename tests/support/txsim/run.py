"""Simulates seed after seed, and says how to repeat the one that breaks."""

from __future__ import annotations

import argparse
import time

from txsim.world import World

__all__ = ["main", "run", "simulate"]

TRANSACTIONS = 100
"""Transactions of one run, which is one seed; then the next seed begins with new nodes."""


def simulate(seed, transactions=TRANSACTIONS, variant=None):
    """Run one world and return it; raises what breaks."""
    world = World(seed, transactions, variant)
    try:
        world.run()
    except Exception as error:
        error.add_note(f"replay: make sim-tx SEED={seed} RUNS=1")
        error.world = world
        raise
    return world


def run(seed, runs, say=print):
    """Run ``runs`` seeds from ``seed`` on; return whether everything held."""
    started = time.perf_counter()
    begun = committed = told = crashes = said = 0
    for number in range(seed, seed + runs):
        try:
            world = simulate(number)
        except Exception as error:  # noqa: BLE001 - any exception is a defect
            trace = "\n".join(f"  {at:9.3f} {what}" for at, what in list(error.world.trace)[-40:])
            say(f"{trace}\n{type(error).__name__}: {error}\nreplay: make sim-tx SEED={number} RUNS=1")
            return False
        begun += world.begun
        committed += len(world.checks.decided)
        told += len(world.checks.told)
        crashes += world.crashes
        said += world.said
    seconds = time.perf_counter() - started
    say(
        f"seeds {seed} to {seed + runs - 1} in {seconds:.1f} s: {begun:,} transactions over 5 nodes, {committed:,} "
        f"committed, {said:,} messages, {crashes:,} crashes; money conserved, all agreed, nothing forgotten or in doubt"
    )
    return True


def main(arguments=None):
    """Return 0, or 1 when a property broke."""
    parser = argparse.ArgumentParser(description="Simulate distributed transactions in bad conditions.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=130, help="worlds of 100 transactions each")
    options = parser.parse_args(arguments)
    return 0 if run(options.seed, options.runs, lambda text: print(text, flush=True)) else 1
