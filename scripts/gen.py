"""Generate orbit_net/proto from protos/, and what the tests of the codec use (``make gen``)."""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this tree's compiler: an installed one may be older

from orbit_net.cli import main  # noqa: E402

CODEC = ROOT / "tests" / "codec" / "protos"
CODEC_OUT = ROOT / "tests" / "support" / "everything"


def _generate(protos: Path, out: Path, *options: str) -> int:
    files = sorted(map(str, protos.rglob("*.proto")))
    return main(["gen", f"--proto-path={protos}", f"--out={out}", *options, *files])


def _describe(proto: str, out: Path) -> int:
    """Write the descriptor from which google.protobuf makes its classes."""
    paths = [f"--proto_path={path}" for path in (CODEC, Path(protoc.__file__).parent / "_proto")]
    return protoc.main(["protoc", *paths, f"--descriptor_set_out={out}", str(CODEC / proto)])


if __name__ == "__main__":
    sys.exit(
        _generate(ROOT / "protos", ROOT / "orbit_net" / "proto", "--prune")
        or _generate(CODEC, CODEC_OUT)
        or _describe("everything/v1/everything.proto", CODEC_OUT / "everything.binpb")
    )
