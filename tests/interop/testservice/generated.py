"""The protos of TestService and of ORCA in Python: by our compiler with betterproto2, and by protoc with grpcio's."""

import importlib
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from orbit_net.compiler import compile_protos, write

PROTOS = Path(__file__).parent.parent / "protos"
FILES = sorted(str(file) for folder in ("testing", "orca") for file in (PROTOS / folder).glob("*.proto"))
# The folders are not those of the packages: modules of grpc.testing would have to be part of grpcio's own package.


@contextmanager
def generated(directory):
    """Give ``ours`` and ``theirs``, each with ``m`` (messages), ``orca`` (load report, request) and their services."""
    write(compile_protos(FILES, [PROTOS]), directory / "our_testservice")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"),
            *(f"--python_out={directory}", f"--grpc_python_out={directory}"),
            *FILES,
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sys.path.insert(0, str(directory))
    try:
        yield SimpleNamespace(ours=_ours(), theirs=_theirs())
    finally:
        sys.path.remove(str(directory))


def _ours():
    modules = [
        importlib.import_module(f"our_testservice.{name}")
        for name in ("grpc.testing.services", "xds.service.orca.v3.services")
    ]
    return SimpleNamespace(
        m=importlib.import_module("our_testservice.grpc.testing"),
        orca=_merged("our_testservice.xds.data.orca.v3", "our_testservice.xds.service.orca.v3"),
        **{
            name: value for module in modules for name, value in vars(module).items() if name.endswith(("Base", "Stub"))
        },
    )


def _theirs():
    services = _merged("testing.test_pb2_grpc", "orca.service_pb2_grpc")
    return SimpleNamespace(
        m=_merged("testing.empty_pb2", "testing.messages_pb2"),
        orca=_merged("orca.load_report_pb2", "orca.service_pb2"),
        **{name: value for name, value in vars(services).items() if not name.startswith("_")},
    )


def _merged(*names):
    found = {}
    for name in names:
        found |= vars(importlib.import_module(name))
    return SimpleNamespace(**found)
