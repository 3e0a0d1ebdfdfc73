"""The benchmark's medians, ratios, tables and picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from benchmarks.machine import Machine
from benchmarks.picture import svg
from benchmarks.report import Ratio, Report
from benchmarks.rounds import Plan, Sample
from benchmarks.tables import CALLS
from benchmarks.text import figure, markdown, terminal

_CPU_US = {
    "orbit_net/asyncio": (20.0, 25.0),
    "orbit_net/trio": (22.0, 24.0),
    "grpclib": (160.0, 150.0),
    "grpcio aio": (200.0, 250.0),
}


def _samples(workload: str, peer: str, client: float, server: float) -> list[Sample]:
    """Return three rounds whose median is the given figure and whose mean is not."""
    latency = None if workload == "pipelined" else 40.0
    return [
        Sample(workload, peer, {"client": client * factor, "server": server * factor}, 30_000.0, latency, latency)
        for factor in (0.9, 1.0, 3.0)
    ]


def _report(without: tuple[str, ...] = ()) -> Report:
    peers = {name: cpu for name, cpu in _CPU_US.items() if name not in without}
    return Report(
        table=CALLS,
        date="2030-01-02 03:04 UTC",
        machine=Machine(cpu="A <fast> & small CPU", cores=2, python="CPython 3.13.0", system="Linux x86_64"),
        versions=dict.fromkeys(peers, "1.2.3"),
        plan=Plan(rounds=3, seconds=1.0),
        samples=[
            sample
            for workload in CALLS.workloads
            for peer, cpu in peers.items()
            for sample in _samples(workload.name, peer, *cpu)
        ],
    )


def test_cell_is_the_median_of_its_rounds() -> None:
    """One slow round does not move a figure."""
    cell = _report().cells()[0]
    assert (cell.workload, cell.peer) == ("unary", "orbit_net/asyncio")
    assert cell.cpu_us == {"client": 20.0, "server": 25.0}


def test_ratio_is_ours_divided_by_theirs() -> None:
    """Below one means less CPU than the peer, on each side by itself."""
    assert _report().ratios()[0] == Ratio(
        "unary", "orbit_net/asyncio", "grpclib", {"client": pytest.approx(1 / 8), "server": pytest.approx(1 / 6)}
    )


def test_document_survives_json() -> None:
    """The JSON document holds every sample and is plain values throughout."""
    document = _report().document()
    assert json.loads(json.dumps(document)) == document
    assert len(document["samples"]) == 3 * len(document["cells"]) == 3 * 12
    assert len(document["ratios"]) == 3 * 2 * 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (2.944, "2.94"), (0.5, "0.50"), (23.06, "23.1"), (164.4, "164"), (12345.6, "12,346")],
)
def test_figure_has_three_significant_digits(value: float | None, text: str) -> None:
    """Figures are as exact as a reader can use, and no latency is a dash."""
    assert figure(value) == text


def test_markdown_tables_are_rectangular() -> None:
    """Every row of a table has as many cells as its header."""
    tables = [block for block in markdown(_report()).split("\n\n") if block.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [2 + 12, 2 + 12]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_terminal_columns_are_aligned() -> None:
    """Figures of one column end at the same place."""
    lines = terminal(_report()).splitlines()
    header = next(line for line in lines if line.startswith("workload"))
    end = header.index("client CPU µs") + len("client CPU µs")
    rows = [line for line in lines if "30,000" in line]
    assert len(rows) == 12
    assert all(line[end - 1].isdigit() and line[end] == " " for line in rows)


def test_report_without_a_peer_has_no_ratio_to_it() -> None:
    """A peer that is not installed leaves a smaller table behind, not an error."""
    report = _report(without=("grpclib",))
    assert {ratio.reference for ratio in report.ratios()} == {"grpcio aio"}
    assert "grpclib" not in markdown(report).partition("| workload")[2]
    ElementTree.fromstring(svg(report))


def test_report_without_a_subject_has_no_ratio_table() -> None:
    """With only the peers measured there is one table, and the picture has no factors."""
    report = _report(without=("orbit_net/asyncio", "orbit_net/trio"))
    assert markdown(report).count("| --- |") == 1
    assert len([text for text in ElementTree.fromstring(svg(report)).itertext() if text.endswith(" ×")]) == 0


def test_picture_has_a_bar_for_each_figure() -> None:
    """A bar a cell and side, as long as its figure, with the figure beside it; names are escaped."""
    root = ElementTree.fromstring(svg(_report()))
    space = {"svg": "http://www.w3.org/2000/svg"}
    bars = [bar for bar in root.findall("svg:rect", space) if bar.get("class") != "card"]
    assert len(bars) == 12 * 2
    ours, theirs = bars[0], bars[4]
    assert float(theirs.get("width", "")) / float(ours.get("width", "")) == pytest.approx(160 / 20, rel=0.02)
    texts = list(root.itertext())
    assert "160" in texts
    assert "8.0 ×" in texts
    assert any("A <fast> & small CPU" in text for text in texts)


def test_picture_stays_inside_its_frame() -> None:
    """No bar reaches the room that is kept for the figures."""
    root = ElementTree.fromstring(svg(_report()))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")[1:]
    assert max(float(bar.get("x", "")) + float(bar.get("width", "")) for bar in bars) < 880 - 100
