"""Simulates Raft clusters: ``python scripts/sim_raft.py --seed 1 --steps 1000000``; see tests/support/raftsim."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    from raftsim import main

    sys.exit(main())
