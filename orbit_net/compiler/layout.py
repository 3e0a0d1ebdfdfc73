"""The layout of generated code: ruff's, with settings of our own wherever it is run."""

from __future__ import annotations

import subprocess
import sys

from .errors import CompileError

__all__ = ["LINE_LENGTH", "formatted"]

LINE_LENGTH = 120


def formatted(code: str) -> str:
    """Return Python source as ruff lays it out, whatever settings lie around. Raises CompileError if ruff fails."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={LINE_LENGTH}", "-"]
    done = subprocess.run(command, input=code, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise CompileError(f"ruff cannot format the generated code: {done.stderr.strip()}")
    return done.stdout
