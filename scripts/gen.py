"""Generate orbit_net/proto from protos/ (``make gen``)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this tree's compiler: an installed one may be older

from orbit_net.cli import main  # noqa: E402

if __name__ == "__main__":
    protos = ROOT / "protos"
    files = sorted(map(str, protos.rglob("*.proto")))
    sys.exit(main(["gen", f"--proto-path={protos}", f"--out={ROOT / 'orbit_net' / 'proto'}", "--prune", *files]))
