"""These tests need grpcio; without it one test says so and the rest is left out."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from testservice.table import Table

if importlib.util.find_spec("grpc") is None:
    collect_ignore_glob = ["test_[!p]*.py", "test_protobuf.py"]

CELL = "interop"
"""The property of a test that is a cell of the table: case, pair of peers, transport, loop, and a note or None."""

TABLE = pytest.StashKey[Table]()
PROTOS = Path(__file__).parent / "protos"
PROTO = "parcel/v1/parcel.proto"


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on sys.path: packages parcel, by protoc and grpcio's plugin, and our_parcel, by our own compiler."""
    from orbit_net.compiler import compile_protos, write

    root = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    done = subprocess.run(
        [*command, f"--python_out={root}", f"--grpc_python_out={root}", PROTO],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    write(compile_protos([str(PROTOS / PROTO)], [PROTOS]), root / "our_parcel")
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


@pytest.fixture(scope="session")
def theirs(generated: Path) -> SimpleNamespace:
    """Messages of google.protobuf; stub, base and registration by grpcio's plugin."""
    messages = importlib.import_module("parcel.v1.parcel_pb2")
    services = importlib.import_module("parcel.v1.parcel_pb2_grpc")
    return SimpleNamespace(messages=messages, **vars(services))


@pytest.fixture(scope="session")
def ours(generated: Path) -> SimpleNamespace:
    """Messages of betterproto2; stub and base by our plugin."""
    messages = importlib.import_module("our_parcel.parcel.v1")
    services = importlib.import_module("our_parcel.parcel.v1.services")
    return SimpleNamespace(messages=messages, DepotStub=services.DepotStub, DepotBase=services.DepotBase)


# --- the table of the interop cases -----------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a soak take longer; it needs ``--timeout`` then."""
    parser.addoption("--soak", type=int, default=10, help="iterations of rpc_soak and channel_soak")


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table."""
    config.stash[TABLE] = Table()
    config.pluginmanager.register(_Reports(config.stash[TABLE]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A case that was left out without a reason fails the run."""
    if session.config.stash[TABLE].failed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    table = config.stash[TABLE]
    if lines := table.lines():
        terminalreporter.section("interop")
        for line in lines:
            terminalreporter.write_line(line)


class _Reports:
    def __init__(self, table: Table) -> None:
        self._table = table

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test that is a cell; setup and teardown count when they fail."""
        cell = dict(report.user_properties).get(CELL)
        if cell is None or (report.when != "call" and report.outcome == "passed"):
            return
        *key, note = cell
        self._table.add(tuple(key), report.outcome, note)
