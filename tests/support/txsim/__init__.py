"""Coordinators and participants in one thread: a seed decides what is lost, late, repeated, reordered and crashed."""

from txsim.checks import Broken
from txsim.run import main, run, simulate
from txsim.world import Variant, World

__all__ = ["Broken", "Variant", "World", "main", "run", "simulate"]
