"""The report as an SVG picture: one panel a workload, one column a side, one bar a peer.

It brings its own background, so it reads the same on a light and on a dark page; where the viewer passes the reader's
colour scheme on, the background follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .report import Cell, Report
from .text import figure
from .workloads import Workload

_WIDTH = 880
_MARGIN = 24
_LABELS = 150  # pixels for the peers' names
_FIGURES = 104  # pixels right of the longest bar for its figures
_HEAD = 74
_PANEL_HEAD = 52
_ROW = 24
_BAR = 15
_FOOT = 48

_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328 }
.card { fill: #ffffff; stroke: #d1d9e0 }
.title { font-size: 17px; font-weight: 600 }
.workload, .ours { font-weight: 600 }
.muted, .muted tspan { fill: #59636e; font-size: 12px; font-weight: 400 }
.subject { fill: #0f8a7e }
.reference { fill: #9aa4af }
.axis { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .card { fill: #0d1117; stroke: #3d444d }
  .muted, .muted tspan { fill: #9198a1 }
  .subject { fill: #2bb8a9 }
  .reference { fill: #656c76 }
  .axis { stroke: #3d444d }
}"""


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the bars of one side start, and how long the longest may be."""

    side: str
    left: float
    length: float


def svg(report: Report) -> str:
    """Draw the report; the factors beside the bars are against the table's first subject."""
    panels = [
        (workload, [cell for cell in report.cells() if cell.workload == workload.name])
        for workload in report.table.workloads
    ]
    panels = [(workload, cells) for workload, cells in panels if cells]
    height = _HEAD + sum(_PANEL_HEAD + _ROW * len(cells) for _, cells in panels) + _FOOT
    body = [*_heading(report)]
    top = _HEAD
    for workload, cells in panels:
        body += _panel(report, workload, cells, top)
        top += _PANEL_HEAD + _ROW * len(cells)
    body.append(_text(_MARGIN, height - 20, _conditions(report), "muted"))
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
                f'height="{height}" role="img" aria-labelledby="title description">'
            ),
            f'<title id="title">{escape(report.table.title)}</title>',
            f'<desc id="description">{escape(_description(report))}</desc>',
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *body,
            "</svg>\n",
        ]
    )


def _heading(report: Report) -> Iterator[str]:
    yield _text(_MARGIN, 34, report.table.title, "title")
    yield _text(_MARGIN, 54, f"microseconds of CPU, less is better; × is against {report.table.subjects[0]}", "muted")


def _panel(report: Report, workload: Workload, cells: list[Cell], top: int) -> Iterator[str]:
    columns = _columns(report)
    longest = max(cell.cpu_us[side] for cell in cells for side in report.table.sides)
    yield _text(_MARGIN, top + 22, workload.title, "workload")
    for column in columns:
        yield _text(column.left, top + 42, f"{column.side}, µs a {workload.unit}", "muted")
    for row, cell in enumerate(cells):
        y = top + _PANEL_HEAD + row * _ROW
        ours = cell.peer in report.table.subjects
        yield _text(_MARGIN, y + 12, cell.peer, "ours" if ours else "")
        for column in columns:
            length = max(1.5, cell.cpu_us[column.side] / longest * column.length)
            yield (
                f'<rect class="{"subject" if ours else "reference"}" x="{column.left:g}" y="{y}" '
                f'width="{length:.1f}" height="{_BAR}" rx="2"/>'
            )
            yield _figures(report, cells, cell, column.side, (column.left + length + 7, y + 12))
    for column in columns:
        bottom = top + _PANEL_HEAD + _ROW * len(cells) - (_ROW - _BAR)
        yield f'<path class="axis" d="M{column.left:g} {top + _PANEL_HEAD - 3}V{bottom + 3}"/>'


def _columns(report: Report) -> list[_Column]:
    sides = report.table.sides
    width = (_WIDTH - 2 * _MARGIN - _LABELS) / len(sides)
    return [_Column(s, _MARGIN + _LABELS + index * width, width - _FIGURES) for index, s in enumerate(sides)]


def _figures(report: Report, cells: list[Cell], cell: Cell, side: str, at: tuple[float, float]) -> str:
    ours = cell.peer in report.table.subjects
    text = escape(figure(cell.cpu_us[side]))
    measure = next((c for c in cells if c.peer == report.table.subjects[0]), None)
    if measure and not ours:
        factor = cell.cpu_us[side] / measure.cpu_us[side]
        text += f'<tspan class="muted" dx="7">{factor:.1f} ×</tspan>'
    return f'<text x="{at[0]:.1f}" y="{at[1]:g}"{_class("ours" if ours else "")}>{text}</text>'


def _description(report: Report) -> str:
    return "; ".join(
        f"{cell.workload}, {cell.peer}: "
        + ", ".join(f"{side} {figure(cell.cpu_us[side])} µs" for side in report.table.sides)
        for cell in report.cells()
    )


def _conditions(report: Report) -> str:
    day = report.date.partition(" ")[0]
    return " · ".join([day, report.machine.cpu, report.machine.python, report.runtimes()])


def _text(x: float, y: float, content: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}"{_class(kind)}>{escape(content)}</text>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
