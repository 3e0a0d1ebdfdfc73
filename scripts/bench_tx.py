"""Measures distributed transactions on this machine: ``python scripts/bench_tx.py``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from txcluster.bench import bench

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Transactions a second, latency and CPU, with 2 and 5 participants.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    parser.add_argument("--output", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    bench(options.seconds, options.output)
