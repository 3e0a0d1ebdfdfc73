"""Starts three nodes, a narrator and, if wanted, an etcd, and watches over their ends."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

_HERE = Path(__file__).parent
_PATIENCE = 60
"""Seconds for one loop's whole story."""

_NODES = ("ada", "bob", "cyd")


def play_cluster(backend: str, directory: str) -> str | None:
    """Run the processes on one loop; return what went wrong, or None."""
    with ExitStack() as stack:
        where = directory
        if directory == "etcd":
            where = _etcd(stack)
            if not where:
                return "there is no etcd here: install it with 'apt-get install etcd-server', or name it in $ETCD"
        nodes = {name: _start(stack, "member.py", backend, name, where) for name in _NODES}
        ports = {name: int(_line(node) or 0) for name, node in nodes.items()}
        if not all(ports.values()):
            return "a node did not start"
        narrator = _start(stack, "narrator.py", backend, where, output=None)
        for process in (*nodes.values(), narrator):
            if where == "static":
                assert process.stdin is not None
                process.stdin.write(json.dumps({**ports, "narrator": 1}) + "\n")
                process.stdin.flush()
        try:
            if narrator.wait(timeout=_PATIENCE):
                return f"the narrator ended with exit code {narrator.returncode}"
            left = nodes["ada"].wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired as error:
            return f"no end after {error.timeout:.0f} s"
        return f"the node that left ended with exit code {left}" if left else None


def _start(
    stack: ExitStack, script: str, *arguments: str, output: int | None = subprocess.PIPE
) -> subprocess.Popen[str]:
    command = [sys.executable, str(_HERE / script), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, text=True)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout else ""


def _etcd(stack: ExitStack) -> str:
    """Start an etcd in a folder of its own and return its endpoint, or nothing where there is none."""
    binary = os.environ.get("ETCD") or shutil.which("etcd")
    if binary is None:
        return ""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orbit-demo-", ignore_cleanup_errors=True))
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        client, peer = (found.getsockname()[1] for found in (first, second))
    urls = {"client": f"http://127.0.0.1:{client}", "peer": f"http://127.0.0.1:{peer}"}
    command = [
        binary,
        f"--data-dir={folder}",
        "--name=demo",
        f"--listen-client-urls={urls['client']}",
        f"--advertise-client-urls={urls['client']}",
        f"--listen-peer-urls={urls['peer']}",
        f"--initial-advertise-peer-urls={urls['peer']}",
        f"--initial-cluster=demo={urls['peer']}",
        "--log-level=error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", client), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return f"127.0.0.1:{client}"
    return ""
