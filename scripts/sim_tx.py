"""Simulates distributed transactions: ``python scripts/sim_tx.py --seed 1 --runs 130``; see tests/support/txsim."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    from txsim import main

    sys.exit(main())
