"""protoc, from the grpcio-tools wheel: the same version for everyone, and nothing to install beside Python packages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CompileError
from .raw import submessages

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_protos"]

_FILE_OF_SET = 1
"""The field of google.protobuf.FileDescriptorSet."""


def read_protos(files: Sequence[str], proto_paths: Sequence[Path]) -> list[bytes]:
    """Return the descriptors, with comments, of ``files`` and of all they import, each after its imports, serialized.

    Raises CompileError with protoc's own words if a file is missing or wrong.
    """
    if importlib.util.find_spec("grpc_tools") is None:
        raise CompileError("protoc is missing: install orbit-net[compiler]")
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "descriptors")
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={path}" for path in proto_paths),
            *("--include_imports", "--include_source_info", f"--descriptor_set_out={output}"),
            *files,
        ]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise CompileError(done.stderr.strip() or f"protoc failed with status {done.returncode}")
        return list(submessages(output.read_bytes(), _FILE_OF_SET))
