"""The message classes of each implementation, generated from the same protos."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from typing import Any

from orbit_net.compiler import compile_protos, write

from .rows import MODULES

_ROOT = Path(__file__).resolve().parents[3]
_PATHS = (_ROOT / "protos", Path(__file__).parent / "protos")
_SECONDS = 120


def generate(folder: Path) -> None:
    """Write the packages ``ours`` (betterproto2), ``older`` (betterproto 2.0.0b7) and google's modules."""
    files = [path for root in _PATHS for path in sorted(root.rglob("*.proto")) if "health/v1" not in str(path)]
    write(compile_protos(list(map(str, files)), _PATHS), folder / "ours")
    (folder / "older").mkdir()
    (folder / "google").mkdir()
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"--proto_path={root}" for root in _PATHS)]
    for out in (f"--python_betterproto_out={folder / 'older'}", f"--python_out={folder / 'google'}"):
        ran = subprocess.run(
            [*command, out, *map(str, files)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        if ran.returncode:
            raise RuntimeError(ran.stderr)


def load(family: str, package: str, name: str) -> Any:
    """Return one class; ``family`` is ``ours``, ``older`` or ``google``, and its folder is on sys.path."""
    if family != "google":
        return getattr(import_module(f"{family}.{package}"), name)
    for stem in MODULES[package]:
        module = import_module(f"{package}.{stem}_pb2")
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(f"{package} has no {name}")
