"""The programs of docs/calls.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "calls.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
PRINTED = {
    "hedges": "SERVING <HedgeTally 1 hedges, 1 cancelled, 0 duplicates>\n",
    "errors": """\
INVALID_ARGUMENT: which service?
service is empty
NO_SERVICE RetryInfo(retry_delay=datetime.timedelta(seconds=1))
""",
    "proxies": "backend.example:443 backend.example:443\n",
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_program(name, tmp_path):
    """It prints what it should."""
    [program] = [program for program, known in zip(PROGRAMS, PRINTED, strict=True) if known == name]
    (tmp_path / "program.py").write_text(program, "utf-8")
    without = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=18,
        check=False,
        env=without,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PRINTED[name]
