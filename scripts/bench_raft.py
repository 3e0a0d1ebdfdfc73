"""Measures three nodes on this machine, beside etcd's when its binary is here: ``python scripts/bench_raft.py``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import anyio
from raftcluster.bench import bench

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Proposals a second, latency and CPU of a replicated store.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    parser.add_argument("--output", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    anyio.run(bench, options.seconds, options.output)
