"""Kills the leader of a cluster 30 times on each event loop: ``python scripts/raft_kill.py [TIMES]``."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import anyio
from raftcluster.killing import kill_leaders


def main() -> int:
    """Return 0 when nothing was lost and every election took less than a second."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    good = True
    for backend in ("asyncio", "trio"):
        with tempfile.TemporaryDirectory() as directory:
            outcome = anyio.run(kill_leaders, Path(directory), backend, times, backend=backend)
        print(f"{backend}: {outcome}", flush=True)
        good = good and not outcome.lost and max(outcome.elections) < 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
