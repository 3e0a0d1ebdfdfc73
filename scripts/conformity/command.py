"""Generate the messages, run the runner, compare with the committed list."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from conformity.runner import Runner, Unavailable, find

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_FOLDER = _ROOT / ".conformance"
_FAILURES = _HERE / "failures.txt"
_PROTOS = ("conformance/conformance.proto", "google/protobuf/test_messages_proto3.proto")
_SECONDS = 300


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code: 0 also where the runner cannot be had, unless CI says that it must."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--testee", choices=["orbit_net", "betterproto2"], default="orbit_net")
    parser.add_argument("--verbose", action="store_true", help="print each failure whole")
    options = parser.parse_args(arguments)
    try:
        runner = find(_FOLDER)
    except Unavailable as reason:
        print(f"conformance: skipped: {reason}")
        return 1 if os.environ.get("CONFORMANCE_REQUIRED") else 0
    _generate(runner)
    return _report(options.testee, _run(runner, options.testee), verbose=options.verbose)


def _generate(runner: Runner) -> None:
    """Generate betterproto2's classes for the messages of the runner."""
    out = _FOLDER / "conformity_messages"
    files = [str(runner.include / name) for name in _PROTOS]
    command = [sys.executable, "-m", "orbit_net.cli", "gen", f"--proto-path={runner.include}", f"--out={out}", *files]
    subprocess.run(command, check=True, timeout=_SECONDS)


def _run(runner: Runner, testee: str) -> tuple[int, str]:
    """Return the runner's exit code and what it printed."""
    out = _FOLDER / "results"
    out.mkdir(exist_ok=True)
    # Recommended cases count like required ones; what fails and why that is right stands in the list.
    failures = ["--failure_list", str(_known_failures(out))] if testee == "orbit_net" else []
    program = _testee_program(testee)
    command = [*runner.command, "--enforce_recommended", *failures, "--output_dir", str(out), str(program)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS, cwd=out)
    return ran.returncode, ran.stderr + ran.stdout


def _testee_program(name: str) -> Path:
    """Write the program to start: the runner takes a path and no arguments."""
    path = _FOLDER / f"testee-{name}"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{_HERE / "testee.py"}" {name} "{_FOLDER}"\n')
    path.chmod(0o755)
    return path


def _known_failures(out: Path) -> Path:
    """Write the committed list without its reasons, which the runner would not read."""
    names = [line.partition("#")[0].strip() for line in _FAILURES.read_text().splitlines()]
    path = out / "known_failures.txt"
    path.write_text("".join(f"{name}\n" for name in names if name))
    return path


def _report(testee: str, result: tuple[int, str], *, verbose: bool) -> int:
    code, text = result
    summaries = re.findall(r"CONFORMANCE SUITE (?:PASSED|FAILED): .*", text)
    for failure in re.findall(r"^ERROR.*?test=(\S+): (.*)$", text, re.MULTILINE):
        print(f"  {failure[0]} {failure[1] if verbose else failure[1][:160]}")
    if code and (verbose or not summaries):
        print(text)
    print(f"{testee}: " + ("; ".join(summaries) or f"the runner ended with {code}"))
    return code
