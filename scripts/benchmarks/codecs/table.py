"""The run: every implementation takes its turn in every round; medians and ratios as text."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from statistics import median
from typing import Any

from ..machine import this_machine
from ..processes import Worker
from ..text import figure, piped
from .classes import generate
from .rows import rows
from .worker import FAMILIES

_LIMIT = 120.0
Measured = dict[str, dict[str, dict[str, list[float]]]]
"""Row → implementation → encode or decode → microseconds, one a round."""


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> Measured:
    """Measure each cell ``rounds`` times, ``seconds`` of CPU each way."""
    found: Measured = {}
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        questions = _questions(folder)
        for number in range(1, rounds + 1):
            for implementation in FAMILIES:
                say(f"codec round {number} of {rounds}: {implementation}")
                _turn(implementation, folder, questions, seconds, found)
    return found


def _questions(folder: str) -> dict[str, dict[str, Any]]:
    import sys

    sys.path.insert(0, folder)
    try:
        own = import_module("ours.measured")
    finally:
        sys.path.remove(folder)
    return {
        title: {"package": package, "name": name, "data": data.hex()}
        for title, (package, name, data) in rows(own).items()
    }


def _turn(
    implementation: str, folder: str, questions: dict[str, dict[str, Any]], seconds: float, found: Measured
) -> None:
    pure = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python" if "pure" in implementation else "upb"}
    before = dict(os.environ)
    os.environ.update(pure)
    try:
        worker = Worker(implementation, folder, command=("-m", "benchmarks.codecs.worker"))
    finally:
        os.environ.clear()
        os.environ.update(before)
    with worker:
        for title, question in questions.items():
            answer = worker.ask(limit=_LIMIT, seconds=seconds, **question)
            cell = found.setdefault(title, {}).setdefault(implementation, {"encode": [], "decode": []})
            for verb, values in cell.items():
                values.append(answer[verb])


def document(measured: Measured, rounds: int, seconds: float, date: str) -> dict[str, Any]:
    """Return everything as values that `json` can write."""
    cells = {
        title: {name: {verb: round(median(values), 3) for verb, values in cell.items()} for name, cell in row.items()}
        for title, row in measured.items()
    }
    versions = {name: metadata.version(name) for name in ("betterproto2", "betterproto", "protobuf")}
    return {
        "date": date,
        "machine": str(this_machine()),
        "rounds": rounds,
        "seconds": seconds,
        "versions": versions,
        "cpu_us": cells,
    }


def markdown(report: dict[str, Any]) -> str:
    """Write the page: microseconds, and how many times orbit_net's cost each other one has."""
    blocks = ["# Encoding and decoding one message, CPU µs"]
    for verb in ("encode", "decode"):
        body = [_line(title, row, verb) for title, row in report["cpu_us"].items()]
        blocks.append(piped([verb, *FAMILIES], body))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    blocks += [
        "In brackets: how many times the cost of orbit_net.",
        (
            f"{report['date']}. {report['machine']}. {versions}. Median of {report['rounds']} rounds; a process "
            "for each implementation, in turn. Repeat with `make bench`."
        ),
    ]
    return "\n\n".join(blocks) + "\n"


def _line(title: str, row: dict[str, dict[str, float]], verb: str) -> list[str]:
    ours = row["orbit_net"][verb]
    others = [
        f"{figure(cell[verb])} ({figure(cell[verb] / ours)})" for name, cell in row.items() if name != "orbit_net"
    ]
    return [title, figure(ours), *others]
