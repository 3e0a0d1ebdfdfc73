"""``orbit-net gen``: from ``.proto`` files to Python."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

__all__ = ["add_to", "run"]


def add_to(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``orbit-net``."""
    parser = commands.add_parser(
        "gen",
        help="generate messages, stubs and service bases from .proto files",
        description="Generate Python from .proto files: messages (betterproto2), stubs and service bases (orbit_net). "
        "Name all files of a proto package in one run. The output must be, or be inside, a Python package.",
    )
    parser.add_argument(
        *("-I", "--proto-path"),
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="where imports of .proto files are looked up; may be repeated (default: the current directory)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the Python files go")
    parser.add_argument(
        "--module", default="services", metavar="NAME", help="the module of stubs in each package (default: services)"
    )
    parser.add_argument("--prune", action="store_true", help="remove all other files below --out")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything would change")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .proto file below one of the proto paths")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    try:
        # The compiler is an extra, and no other subcommand needs it.
        from orbit_net.compiler import CompileError, compile_protos, differences, write  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is missing: install orbit-net[compiler]")
    try:
        files = compile_protos(options.files, options.proto_path or [Path()], module=options.module)
    except CompileError as error:
        return _fail(str(error))
    if options.check:
        changed = differences(files, options.out, prune=options.prune)
        return _fail(f"out of date below {options.out}: {', '.join(changed)}") if changed else 0
    for name in write(files, options.out, prune=options.prune):
        print(options.out / name)
    return 0


def _fail(reason: str) -> int:
    print(f"orbit-net gen: {reason}", file=sys.stderr)
    return 1
