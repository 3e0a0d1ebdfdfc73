"""The messages, by betterproto2's own compiler, run so that the same input gives the same bytes everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from betterproto2_compiler.lib.google.protobuf.compiler import CodeGeneratorRequest, CodeGeneratorResponse

from .errors import CompileError
from .layout import LINE_LENGTH

__all__ = ["NO_SERVICES", "generate_messages"]

# betterproto2's own stubs send from asyncio tasks; ours take their place.
NO_SERVICES = "client_generation=none,server_generation=none"


def generate_messages(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Return the files of betterproto2's compiler for a request. Raises CompileError with its words if it fails."""
    with tempfile.TemporaryDirectory() as directory:
        # It skips files that exist in the working directory, formats as the ruff settings found from there say,
        # and finds ruff on PATH.
        Path(directory, "ruff.toml").write_text(f"line-length = {LINE_LENGTH}\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "betterproto2_compiler.plugin"],
            input=bytes(request),
            capture_output=True,
            cwd=directory,
            env=_environment(),
            check=False,
        )
    complaints = done.stderr.decode(errors="replace")
    if done.returncode:
        raise CompileError(f"betterproto2_compiler failed: {complaints.strip()}")
    _pass_on(complaints)
    response = CodeGeneratorResponse.parse(done.stdout)
    if response.error:
        raise CompileError(f"betterproto2_compiler: {response.error}")
    return response


def _environment() -> dict[str, str]:
    # A fixed hash seed: it writes imports in the order of a set.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONHASHSEED": "0"}


def _pass_on(complaints: str) -> None:
    """Show its warnings, without its list of the files it writes."""
    for line in complaints.splitlines():
        if not line.startswith("Writing "):
            print(line, file=sys.stderr)
