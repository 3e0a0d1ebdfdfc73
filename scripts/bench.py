"""Measure orbit_net against other gRPC runtimes: ``python scripts/bench.py [--quick]``.

The logic is in the package ``benchmarks`` beside this file; ``--help`` lists the options.
"""

import sys
from pathlib import Path

from benchmarks.command import main

if __name__ == "__main__":
    # the tree this file stands in is measured, installed or not; the workers look there first as well
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
