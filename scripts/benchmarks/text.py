"""The report as text for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .report import Report

Rows = Sequence[Sequence[str]]

READING = """\
CPU is user and system time of all threads of a process, divided by the number of calls (unary), round trips
(ping-pong) or messages (pipelined). Client and server are a process each, joined by one connection over loopback TCP;
every round starts them afresh and the peers take turns within a round; a figure is the median over the rounds.
Absolute figures belong to this machine; the ratios, taken from the same run, are what to compare."""


def figure(value: float | None) -> str:
    """Write a positive number with three significant digits, or a dash where there is none."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def terminal(report: Report) -> str:
    """Write the whole report in aligned columns."""
    blocks = [report.table.title, _aligned(*_cells(report))]
    if report.ratios():
        blocks += ["below 1: less CPU than the peer", _aligned(*_ratios(report))]
    return "\n\n".join([*blocks, _conditions(report)])


def markdown(report: Report) -> str:
    """Write the whole report as a page."""
    blocks = [f"# {report.table.title}", READING, piped(*_cells(report))]
    if report.ratios():
        blocks += ["Ratios; below 1 is less CPU than the peer.", piped(*_ratios(report))]
    blocks += [_conditions(report), "Repeat with `make bench`; `python scripts/bench.py --help` lists the options."]
    return "\n\n".join(blocks) + "\n"


def _cells(report: Report) -> tuple[Sequence[str], Rows]:
    titles = {workload.name: workload.title for workload in report.table.workloads}
    header = ["workload", "peer", *(f"{side} CPU µs" for side in report.table.sides), "rate /s", "p50 µs", "p99 µs"]
    rows = [
        [
            titles[cell.workload],
            cell.peer,
            *(figure(cell.cpu_us[side]) for side in report.table.sides),
            f"{cell.rate:,.0f}",
            figure(cell.p50_us),
            figure(cell.p99_us),
        ]
        for cell in report.cells()
    ]
    return header, _once(rows)


def _ratios(report: Report) -> tuple[Sequence[str], Rows]:
    titles = {workload.name: workload.title for workload in report.table.workloads}
    header = ["workload", "CPU of", "divided by that of", *report.table.sides]
    rows = [
        [titles[ratio.workload], ratio.subject, ratio.reference]
        + [f"{ratio.cpu[side]:.2f}" for side in report.table.sides]
        for ratio in report.ratios()
    ]
    return header, _once(rows)


def _conditions(report: Report) -> str:
    length = f"{report.plan.calls:,} calls" if report.plan.calls else f"{report.plan.seconds:g} s"
    rounds = f"Median of {report.plan.rounds} rounds of {length} a figure"
    return f"{report.date}. {report.machine}. {report.runtimes()}. {rounds}."


def _once(rows: Rows) -> Rows:
    """Keep the first column only where it changes."""
    previous = [""] + [row[0] for row in rows]
    return [["" if row[0] == before else row[0], *row[1:]] for row, before in zip(rows, previous, strict=False)]


def _is_figure(text: str) -> bool:
    return text[:1].isdigit() or text == "–"


def _aligned(header: Sequence[str], rows: Rows) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [bool(rows) and _is_figure(rows[0][column]) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True))
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("─" * width for width in widths), *map(line, rows)])


def piped(header: Sequence[str], rows: Rows) -> str:
    """Write a table of Markdown."""
    rules = ["--:" if rows and _is_figure(text) else "---" for text in (rows[0] if rows else header)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rules, *rows])
