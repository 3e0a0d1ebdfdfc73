"""The command ``orbit-net``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import orbit_net

from . import codec, gen

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's, and return its exit status.

    0: done; 1: not done, with the reason on standard error; 2: the arguments make no sense (raised as SystemExit).
    """
    parser = argparse.ArgumentParser(prog="orbit-net", description="Tools of orbit_net.")
    parser.add_argument("--version", action="version", version=f"orbit-net {orbit_net.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    gen.add_to(commands)
    codec.add_to(commands)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status
