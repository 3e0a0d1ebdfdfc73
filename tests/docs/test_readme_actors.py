"""The README's actor program runs as it stands there, but for the port."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from etcd_server import free_ports

pytestmark = pytest.mark.once

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("run", ["anyio.run(main)", 'anyio.run(main, backend="trio")'])
def test_an_account_is_debited(run):
    """The program prints what its two invocations return, on either loop."""
    [program] = [
        text
        for text in re.findall(r"^```py\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        if "ActorNode(" in text
    ]
    program = program.replace("50051", str(free_ports(1)[0])).replace("anyio.run(main)", run)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "-100\n-100\n", "")
