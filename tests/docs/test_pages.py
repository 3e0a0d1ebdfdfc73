"""The programs of docs/ run as they stand there, on both event loops, and print what stands below them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import Site
from etcd_server import free_ports

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[2] / "docs"
RUN = "anyio.run(main)"
TRIO = 'anyio.run(main, backend="trio")'
VIRTUAL = """\
import trio.testing
anyio.run(main, backend="trio", backend_options={"clock": trio.testing.MockClock(rate=1)})
"""

PAGES = sorted(DOCS.glob("*.md"))
PROGRAM = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
"""A program, and what it prints where the page says so below it; nothing where it does not."""


def cases():
    """Yield each program and what it prints, on both loops if it has one."""
    for page in PAGES:
        for number, (program, printed) in enumerate(PROGRAM.findall(page.read_text("utf-8")), 1):
            runs = {"asyncio": RUN, "trio": VIRTUAL if page.stem == "testing" else TRIO}
            for loop, run in runs.items() if RUN in program else [("plain", "")]:
                yield pytest.param(program.replace(RUN, run), printed, id=f"{page.stem}-{number}-{loop}")


@pytest.mark.parametrize(("program", "printed"), list(cases()))
def test_a_program(program, printed, tmp_path):
    """It ends well and prints what stands below it, with certificates in its folder if it wants some."""
    program = program.replace("50051", str(free_ports(1)[0]))
    if "node.crt" in program:
        Site(tmp_path).server.write(tmp_path, "node")
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed


@pytest.mark.parametrize("path", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """Each link to a file of the repository finds it."""
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
