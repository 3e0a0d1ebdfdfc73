"""Kills nodes amid transactions, 50 times on each event loop: ``python scripts/tx_kill.py [TIMES]``."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import anyio
from txcluster.killing import kill_nodes


def main() -> int:
    """Return 0 when nothing was lost."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    good = True
    for backend in ("asyncio", "trio"):
        with tempfile.TemporaryDirectory() as directory:
            outcome = anyio.run(kill_nodes, Path(directory), backend, times, backend=backend)
        print(f"{backend}: {outcome}", *outcome.wrong[:10], sep="\n  ", flush=True)
        good = good and not outcome.wrong
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
