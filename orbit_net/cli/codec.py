"""``orbit-net codec``: what the codec makes of a message class."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

__all__ = ["add_to", "run"]


def add_to(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``orbit-net``."""
    codec = commands.add_parser("codec", help="look at the compiled codec")
    parser = codec.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "show",
        help="print the functions that encode and decode a message class",
        description="Print the Python text that the codec compiles for a message class of betterproto2.",
    )
    parser.add_argument("message", metavar="MODULE:CLASS", help="for example orbit_net.proto.orbit.shared:MessageProto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from orbit_net.codec import source_of  # noqa: PLC0415 - other subcommands do not need the codec
    from orbit_net.codec.fields import is_compilable  # noqa: PLC0415

    module_name, _, class_name = options.message.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        cls = getattr(import_module(module_name), class_name)
    except (ImportError, ValueError) as error:
        return _fail(f"{module_name!r} cannot be imported: {error}")
    except AttributeError:
        return _fail(f"{module_name} has no {class_name!r}")
    if not is_compilable(cls):
        return _fail(f"{options.message} is not a message class of betterproto2")
    print(source_of(cls), end="")
    return 0


def _fail(reason: str) -> int:
    print(f"orbit-net codec: {reason}", file=sys.stderr)
    return 1
