"""Write the newest versions that fit pyproject.toml into constraints.txt (``make lock``)."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# The versions that this tree is built and tested with, for CPython 3.11, 3.12 and 3.13 alike (`make lock`).\n"


def newest() -> list[str]:
    """Return a pin for each package that this project, its extras and its tools need."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report=-"]
    wanted = ["--group=dev", ".[cli,compiler,otel,prometheus,trio]", "pip"]
    done = subprocess.run([*command, *wanted], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    packages = (package["metadata"] for package in json.loads(done.stdout)["install"])
    pins = {package["name"].lower().replace("_", "-"): package["version"] for package in packages}
    return [f"{name}=={version}\n" for name, version in sorted(pins.items()) if name != "orbit-net"]


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(HEAD + "".join(newest()), encoding="utf-8")
