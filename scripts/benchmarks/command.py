"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import picture, text
from .codecs import table as codec_table
from .machine import this_machine
from .peers import Peer
from .report import Report
from .rounds import Plan, run
from .tables import TABLES, Table
from .workloads import Workload

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "bench"
_FULL = Plan(rounds=7, seconds=1.0)  # about two and a half minutes; medians repeat within a few per cent
_QUICK = Plan(rounds=2, seconds=0.4)  # about twenty seconds; good enough to see a factor, not a tenth

_CODEC_ROUNDS, _CODEC_SECONDS = 3, 0.2  # a minute and a half; medians repeat within a few per cent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return 0, or 1 when something could not be measured, or 130 when interrupted."""
    options = _parser(TABLES).parse_args(arguments)
    try:
        worst = 0
        for table in TABLES.values():
            if options.only in (None, table.name):
                worst = max(worst, _bench(table, options))
        if options.only in (None, "codec") and not (options.peer or options.workload or options.json):
            _bench_codecs(options)
        return worst
    except KeyboardInterrupt:
        _say("interrupted, nothing written")
        return 130


def _bench(table: Table, options: argparse.Namespace) -> int:
    wanted = [peer for peer in table.peers if not options.peer or peer.name in options.peer]
    peers = [peer for peer in wanted if _is_installed(peer)]
    workloads = [workload for workload in table.workloads if not options.workload or workload.name in options.workload]
    if not (peers and workloads):
        _say(f"{table.name}: nothing to measure")
        return 0 if options.only is None else 1
    plan = _plan(options)
    samples, failures = run(peers, workloads, plan, _say)
    report = Report(
        table=table,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=this_machine(),
        versions={peer.name: peer.version() for peer in peers},
        plan=plan,
        samples=samples,
    )
    if samples:
        print(json.dumps(report.document(), indent=1) if options.json else text.terminal(report), flush=True)
    for peer_name, reason in failures.items():
        _say(f"{peer_name} failed: {reason}")
    if failures:
        return 1
    _write(report, options, complete=_is_complete(table, peers, workloads, options))
    return 1 if options.peer and peers != wanted else 0


def _bench_codecs(options: argparse.Namespace) -> None:
    rounds, seconds = (1, 0.05) if options.quick else (_CODEC_ROUNDS, _CODEC_SECONDS)
    measured = codec_table.measure(rounds, seconds, _say)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    report = codec_table.document(measured, rounds, seconds, date)
    print(codec_table.markdown(report), flush=True)
    if options.quick and not options.output:
        return
    folder = options.output or _DOCS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codec.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "codec.md").write_text(codec_table.markdown(report), encoding="utf-8")
    _say(f"wrote codec.json and codec.md in {folder}")


def _plan(options: argparse.Namespace) -> Plan:
    usual = _QUICK if options.quick else _FULL
    return Plan(options.rounds or usual.rounds, options.seconds or usual.seconds, options.calls)


def _is_installed(peer: Peer) -> bool:
    missing = peer.missing()
    if missing:
        _say(f"{peer.name} is left out: {', '.join(missing)} not installed")
    return not missing


def _is_complete(
    table: Table, peers: Sequence[Peer], workloads: Sequence[Workload], options: argparse.Namespace
) -> bool:
    return not options.quick and len(peers) == len(table.peers) and len(workloads) == len(table.workloads)


def _write(report: Report, options: argparse.Namespace, *, complete: bool) -> None:
    """Write the three files; without --output only when they would replace the committed ones by something as good."""
    if not options.output and not complete:
        _say(f"not a complete run: {_DOCS.parent.name}/{_DOCS.name} stays as it is (--output writes elsewhere)")
        return
    folder = options.output or _DOCS
    folder.mkdir(parents=True, exist_ok=True)
    stem = "latest" if report.table.name == "calls" else report.table.name
    (folder / f"{stem}.json").write_text(json.dumps(report.document(), indent=1) + "\n", encoding="utf-8")
    (folder / f"{stem}.md").write_text(text.markdown(report), encoding="utf-8")
    (folder / f"{stem}.svg").write_text(picture.svg(report), encoding="utf-8")
    _say(f"wrote {stem}.json, {stem}.md and {stem}.svg in {folder}")


def _parser(tables: Mapping[str, Table]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure CPU time per call of orbit_net and its peers, client and server apart."
    )
    add = parser.add_argument
    workloads = [workload.name for table in tables.values() for workload in table.workloads]
    peers = [peer.name for table in tables.values() for peer in table.peers]
    add("--quick", action="store_true", help="about a minute instead of 5, and less exact")
    add("--only", choices=[*tables, "codec"], help="only this table")
    add("--rounds", type=_positive_int, metavar="N", help=f"rounds of all peers (default {_FULL.rounds})")
    add("--seconds", type=_positive, metavar="S", help=f"length of a measurement (default {_FULL.seconds:g})")
    add("--calls", type=_positive_int, metavar="N", help="number of calls a measurement, instead of a length")
    add("--workload", action="append", choices=workloads, help="only this one; repeatable")
    add("--peer", action="append", choices=peers, help="only this one; repeatable")
    add("--json", action="store_true", help="print the JSON document instead of the table")
    add("--output", type=Path, metavar="DIR", help="where the files go (default docs/bench, complete runs only)")
    return parser


def _positive(value: str) -> float:
    number = float(value)
    if not 0 < number < 3600:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 3600")
    return number


def _positive_int(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return number


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
