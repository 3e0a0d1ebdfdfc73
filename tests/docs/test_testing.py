"""The programs of docs/testing.md run as they stand there, on either loop."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
TRIO = 'import trio.testing\nanyio.run(main, backend="trio", backend_options={"clock": trio.testing.MockClock(rate=1)})'

PRINTED = [
    "NOT_SERVING\n",
    "UNAVAILABLE OK ['OK', 'UNAVAILABLE']\n",
    "a:1 SERVING\nb:1 nobody listens at b:1\n",
    "<VirtualClock at 9 s> NOTHING\n<VirtualClock at 10 s> PING\n<VirtualClock at 30 s> CLOSE\n",
    "DEADLINE_EXCEEDED 1800\n",
]


@pytest.mark.parametrize("run", ["anyio.run(main)", TRIO], ids=["asyncio", "trio"])
@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_programs(number, run):
    """Each prints what the text says."""
    assert len(PROGRAMS) == len(PRINTED)
    program = PROGRAMS[number].replace("anyio.run(main)", run)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED[number], "")
