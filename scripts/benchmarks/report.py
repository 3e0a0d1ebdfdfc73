"""Samples become medians, ratios and one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .machine import Machine
from .rounds import Plan, Sample
from .tables import Table


@dataclass(frozen=True, slots=True)
class Cell:
    """The medians over the rounds of one peer on one workload; `cpu_us` is CPU microseconds per unit, by side."""

    workload: str
    peer: str
    cpu_us: Mapping[str, float]
    rate: float
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU of the subject divided by CPU of the reference, by side: below 1 the subject is the cheaper one."""

    workload: str
    subject: str
    reference: str
    cpu: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one table; `versions` by peer name, `date` as ISO 8601."""

    table: Table
    date: str
    machine: Machine
    versions: Mapping[str, str]
    plan: Plan
    samples: Sequence[Sample]

    def cells(self) -> list[Cell]:
        """Return the cells that were measured, in the order of the table."""
        found = []
        for workload in self.table.workloads:
            for peer in self.table.peers:
                mine = [s for s in self.samples if s.workload == workload.name and s.peer == peer.name]
                if mine:
                    found.append(self._cell(mine))
        return found

    def ratios(self) -> list[Ratio]:
        """Return each comparison of the table whose two cells were measured."""
        cells = {(cell.workload, cell.peer): cell for cell in self.cells()}
        found = []
        for workload in self.table.workloads:
            for subject in self.table.subjects:
                for reference in self.table.references:
                    ours, theirs = cells.get((workload.name, subject)), cells.get((workload.name, reference))
                    if ours and theirs:
                        cpu = {side: ours.cpu_us[side] / theirs.cpu_us[side] for side in self.table.sides}
                        found.append(Ratio(workload.name, subject, reference, cpu))
        return found

    def runtimes(self) -> str:
        """Name each runtime with its version, once however many event loops it was measured on."""
        names = {f"{peer.partition('/')[0]} {version}": None for peer, version in self.versions.items()}
        return ", ".join(names)

    def document(self) -> dict[str, Any]:
        """Return everything, each single sample included, as values that `json` can write."""
        return {
            "table": self.table.name,
            "title": self.table.title,
            "date": self.date,
            "machine": asdict(self.machine),
            "versions": dict(self.versions),
            "plan": asdict(self.plan),
            "workloads": [
                {"name": w.name, "title": w.title, "unit": w.unit, "payload_bytes": w.payload_bytes}
                for w in self.table.workloads
            ],
            "cells": [_rounded(asdict(cell)) for cell in self.cells()],
            "ratios": [_rounded(asdict(ratio)) for ratio in self.ratios()],
            "samples": [_rounded(asdict(sample)) for sample in self.samples],
        }

    def _cell(self, samples: Sequence[Sample]) -> Cell:
        return Cell(
            workload=samples[0].workload,
            peer=samples[0].peer,
            cpu_us={side: median(sample.cpu_us[side] for sample in samples) for side in self.table.sides},
            rate=median(sample.rate for sample in samples),
            p50_us=_median_or_none(sample.p50_us for sample in samples),
            p99_us=_median_or_none(sample.p99_us for sample in samples),
        )


def _median_or_none(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _rounded(value: Any) -> Any:
    """Three decimals: a nanosecond is less than the clocks tell."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value
