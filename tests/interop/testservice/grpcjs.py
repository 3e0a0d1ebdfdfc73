"""grpc-js: a node process with the server, and one that runs the cases, each ended by closing its standard input."""

import json
import os
import queue
import shutil
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .generated import PROTOS

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "tests" / "interop" / "node"
MODULES = ROOT / ".venv-node"
"""Where ``make interop`` installs what ``tests/interop/node/package.json`` names."""

_PATIENCE = 18.0
"""Seconds for the answer of a process: more than any call of a case takes, less than a test may. A soak adds to it."""


def missing():
    """Return why grpc-js is not here, or None."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (MODULES / "installed").is_file() or not (MODULES / "node_modules" / "@grpc" / "grpc-js").is_dir():
        return "'make interop' has not installed it"
    return None


class _Process:
    """A node process that answers in lines of JSON."""

    def __init__(self, script, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self._process = subprocess.Popen(
            ["node", SCRIPTS / script, MODULES, PROTOS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
        )
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, question):
        """Send a line."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def answer(self, patience=_PATIENCE):
        """Return the next line, which must come within ``patience`` seconds."""
        line = self._lines.get(timeout=patience)
        assert line, "the node process has ended"
        return json.loads(line)

    def close(self):
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._reader.join(5)
        self._process.stdout.close()


@contextmanager
def grpcjs_server(certificate, key):
    """Give the ports of a running server, by transport; ``certificate`` and ``key`` are files."""
    process = _Process("server.js", certificate, key)
    try:
        yield process.answer()
    finally:
        process.close()


class GrpcjsClient:
    """Runs the cases in one process, one at a time."""

    def __init__(self):
        self._process = _Process("client.js")
        self._count = 0

    def run(self, case, target, *, ca, probe, soak):
        """Run one case; to be called in a thread."""
        self._count += 1
        question = {"id": self._count, "case": case, "target": target, "ca": ca, "probe": probe, "soak": asdict(soak)}
        self._process.ask(question)
        result = {"id": 0}
        while result["id"] != self._count:  # the answer of a case that took too long may still come
            result = self._process.answer(max(_PATIENCE, soak.overall))
        assert result["error"] is None, result["error"]

    def close(self):
        """End the process."""
        self._process.close()
