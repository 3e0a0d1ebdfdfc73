"""The protos of this directory, compiled by the generators of others and imported."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

PROTOS = Path(__file__).parent / "protos"
PROTO = "relay/v1/relay.proto"


def _protoc(*arguments: str) -> None:
    """Run protoc with the plugins, and the formatter that one of them calls, that are installed beside this Python."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *arguments, PROTO]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on sys.path: packages generated_betterproto2, generated_betterproto and, by protoc's names, relay."""
    root = tmp_path_factory.mktemp("generated")
    (new := root / "generated_betterproto2").mkdir()
    (old := root / "generated_betterproto").mkdir()
    asynchronous = ["client_generation=async", "server_generation=async"]
    options = [f"--python_betterproto2_opt={option}" for option in asynchronous]
    _protoc(f"--python_betterproto2_out={new}", *options)
    _protoc(f"--python_betterproto_out={old}")
    _protoc(f"--python_out={root}", f"--grpclib_python_out={root}")
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


@pytest.fixture(scope="session", params=["betterproto2", "betterproto"])
def relay(request: pytest.FixtureRequest, generated: Path) -> object:
    """Messages, stub and base that the compiler of betterproto2, or of betterproto 2.0.0b7, made."""
    return importlib.import_module(f"generated_{request.param}.relay.v1")


@pytest.fixture(scope="session")
def plugin(generated: Path) -> SimpleNamespace:
    """Messages by protoc itself, stub and base by grpclib's plugin."""
    messages = importlib.import_module("relay.v1.relay_pb2")
    services = importlib.import_module("relay.v1.relay_grpc")
    return SimpleNamespace(
        Note=messages.Note, Reply=messages.Reply, RelayStub=services.RelayStub, RelayBase=services.RelayBase
    )


class _Tasks:
    """The tasks of this event loop, to be compared with those of an earlier moment."""

    def __init__(self) -> None:
        self._before = {task.id for task in anyio.get_running_tasks()}

    def _new(self) -> list[str]:
        return [repr(task) for task in anyio.get_running_tasks() if task.id not in self._before]

    async def settle(self) -> None:
        """Return when only the tasks of before are left; the test's timeout tells when that never happens."""
        while self._new():
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def count_tasks() -> type[_Tasks]:
    """Call it to remember the running tasks; await its ``settle()`` to see that no others are left."""
    return _Tasks
