"""Every branch of the core is taken by the core's own tests, without the simulation's help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stress

HERE = Path(__file__).parent
CORE = ("config", "core", "log", "membership", "messages", "progress", "quorum", "reads")


@pytest.mark.timeout(120)
def test_every_branch_of_the_core_is_taken(tmp_path):
    """100 % branch coverage of raft/core.py and its neighbours by test_core.py and test_quorum.py."""
    include = "--include=" + ",".join(f"*/raft/{name}.py" for name in CORE)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    data = f"--data-file={tmp_path / 'coverage'}"
    coverage = [sys.executable, "-m", "coverage"]
    tests = [str(HERE / "test_core.py"), str(HERE / "test_quorum.py")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        [*coverage, "run", "--branch", data, "--source=orbit_net.raft", "-m", "pytest", *options, *tests],
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report = subprocess.run(
        [*coverage, "report", data, include, "--fail-under=100", "--show-missing", "--precision=2"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stdout + report.stderr
