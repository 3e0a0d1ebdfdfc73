"""The programs of docs/introspection.md run as they stand there, on either loop."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "introspection.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
REFLECTION = "grpc.health.v1.Health\ngrpc.reflection.v1.ServerReflection\ngrpc.reflection.v1alpha.ServerReflection\n"
CHANNELZ = "READY 1\n['connecting', 'ready']\n1 0\n"


@pytest.mark.parametrize("run", ["anyio.run(main)", 'anyio.run(main, backend="trio")'])
@pytest.mark.parametrize(("number", "printed"), [(0, REFLECTION), (1, CHANNELZ)])
def test_programs(number, printed, run):
    """Each prints what its service tells."""
    assert len(PROGRAMS) == 2
    program = PROGRAMS[number].replace("anyio.run(main)", run)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
