"""The program of docs/raft.md runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[2] / "docs" / "raft.md"


def test_the_program_runs(tmp_path):
    """It elects its only node and reads what it wrote."""
    [program] = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "node-1 led by default:node-1\n"
