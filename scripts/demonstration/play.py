"""Starts the node and the client, passes on what the client tells, and watches over their ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .agreement import play_agreement
from .cluster import play_cluster
from .transfers import play_transfers

_HERE = Path(__file__).parent
_PATIENCE = 60
"""Seconds for one loop's whole story."""


def main() -> int:
    """Play the demo on both event loops; return 0, or 1 at the first surprise."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "static"
    if directory not in ("static", "etcd"):
        print(f"the directory is {directory!r}; it must be 'static' or 'etcd'")
        return 1
    for backend in ("asyncio", "trio"):
        print(f"on {backend}: one node process, one client process, TCP on loopback", flush=True)
        reason = play(backend)
        if reason is not None:
            print(f"the demo on {backend} failed: {reason}")
            return 1
        print(f"on {backend}: three node processes, a caller, the {directory} directory", flush=True)
        reason = play_cluster(backend, directory)
        if reason is not None:
            print(f"the demo of the cluster on {backend} failed: {reason}")
            return 1
        print(f"on {backend}: three node processes that agree by Raft, one of them killed", flush=True)
        reason = play_agreement(backend)
        if reason is not None:
            print(f"the demo of agreement on {backend} failed: {reason}")
            return 1
        print(f"on {backend}: three node processes with accounts, transfers between them", flush=True)
        reason = play_transfers(backend)
        if reason is not None:
            print(f"the demo of transfers on {backend} failed: {reason}")
            return 1
    print("everything went as it should")
    return 0


def play(backend: str) -> str | None:
    """Run both processes on one loop; return what went wrong, or None."""
    node = subprocess.Popen([sys.executable, str(_HERE / "node.py"), backend], stdout=subprocess.PIPE, text=True)
    try:
        target = node.stdout.readline().strip() if node.stdout else ""
        if not target:
            return "the node did not start"
        client = [sys.executable, str(_HERE / "client.py"), backend, target]
        ended = subprocess.run(client, timeout=_PATIENCE, check=False).returncode
        if ended:
            return f"the client ended with exit code {ended}"
        left = node.wait(timeout=_PATIENCE)
        return f"the node ended with exit code {left}" if left else None
    except subprocess.TimeoutExpired as error:
        return f"no end after {error.timeout:.0f} s"
    finally:
        if node.poll() is None:
            node.kill()
        node.wait()
        if node.stdout:
            node.stdout.close()
