"""A cluster of Raft cores in one thread: a seed decides what is lost, late, repeated, cut off and crashed."""

from raftsim.checks import Broken
from raftsim.linear import Operation, is_linearizable
from raftsim.run import main, run, simulate
from raftsim.world import Variant, World

__all__ = ["Broken", "Operation", "Variant", "World", "is_linearizable", "main", "run", "simulate"]
