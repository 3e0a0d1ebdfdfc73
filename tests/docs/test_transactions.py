"""The program of docs/transactions.md runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "transactions.md"


@pytest.mark.parametrize("run", ["anyio.run(main)", 'anyio.run(main, backend="trio")'])
def test_the_program_runs(tmp_path, run):
    """It moves money between nodes, and does not move what is not there, on either loop."""
    [program] = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program.replace("anyio.run(main)  #", f"{run}  #"), "utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused, balances = done.stdout.splitlines()
    assert refused.startswith("no transfer: BankAccount/alice votes NO: not enough money")
    assert balances == "{'alice': 70, 'bernd': 130, 'carla': 100}"
