"""The programs of docs/ run as they stand there, on both event loops, and print what they should."""

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

PRINTED = {
    "actors": ["-100\n-100\n"],
    "calls": [
        "4 attempts\n",
        "SERVING <HedgeTally 1 hedges, 1 cancelled, 0 duplicates>\n",
        """\
INVALID_ARGUMENT: which service?
service is empty
NO_SERVICE RetryInfo(retry_delay=datetime.timedelta(seconds=1))
""",
        "SERVING 1 request, 0 errors\n",
        "backend.example:443 backend.example:443\n",
    ],
    "codec": [r"NodeIdProto.namespace at byte 9 of 16: .*\nKeyProto.int32_key: 2147483648 is out of range .*\n"],
    "introspection": [
        "grpc.health.v1.Health\ngrpc.reflection.v1.ServerReflection\ngrpc.reflection.v1alpha.ServerReflection\n",
        "READY 1\n['connecting', 'ready']\n1 0\n",
    ],
    "raft": ["node-1 led by default:node-1\n"],
    "services": ["health: SERVING\n"],
    "testing": [
        "NOT_SERVING\n",
        "UNAVAILABLE OK ['OK', 'UNAVAILABLE']\n",
        "a:1 SERVING\nb:1 nobody listens at b:1\n",
        "<VirtualClock at 9 s> NOTHING\n<VirtualClock at 10 s> PING\n<VirtualClock at 30 s> CLOSE\n",
        "DEADLINE_EXCEEDED 1800\n",
    ],
    "transactions": [
        "no transfer: BankAccount/alice votes NO: not enough money.*\n{'alice': 70, 'bernd': 130, 'carla': 100}\n"
    ],
}
"""What each program of a page prints, in the order of the page; text that is no match as it stands is a pattern."""


def programs(page):
    """Return the programs of a page."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


def cases():
    """Yield each program, on both loops if it has one."""
    for page, printed in PRINTED.items():
        for number, program in enumerate(programs(page)[: len(printed)]):
            for run in [RUN, VIRTUAL if page == "testing" else TRIO] if RUN in program else [""]:
                loop = {"": "plain", RUN: "asyncio"}.get(run, "trio")
                yield pytest.param(page, number, run, id=f"{page}-{number + 1}-{loop}")


@pytest.mark.parametrize(("page", "number", "run"), list(cases()))
def test_a_program(page, number, run, tmp_path):
    """It ends well and prints what it should, with certificates in its folder if it wants some."""
    program = programs(page)[number].replace(RUN, run) if run else programs(page)[number]
    port = str(free_ports(1)[0])
    program = program.replace("50051", port)
    if "node.crt" in program:
        Site(tmp_path).server.write(tmp_path, "node")
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PRINTED[page][number] or re.fullmatch(PRINTED[page][number], done.stdout)


def test_every_program_is_run():
    """No page has a program that is not in the list."""
    pages = {path.stem: len(programs(path.stem)) for path in sorted(DOCS.glob("*.md"))}
    assert {page: count for page, count in pages.items() if count} == {page: len(p) for page, p in PRINTED.items()}


@pytest.mark.parametrize("path", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """Each link to a file of the repository finds it."""
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
