"""The programs of docs/balancing.md run as they stand there, and print what stands below them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "balancing.md"
PROGRAM = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
PROGRAMS = PROGRAM.findall(DOCS.read_text("utf-8"))


def test_there_are_programs():
    """Lest the pattern finds nothing."""
    assert len(PROGRAMS) == 4


@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_program_runs(program, output, tmp_path):
    """It ends well and prints what the page says."""
    (tmp_path / "program.py").write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output
