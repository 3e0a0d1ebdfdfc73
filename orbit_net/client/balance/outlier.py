"""Outlier detection (gRFC A50): counts of calls in, ejections out. Pure; time and chance are arguments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from orbit_net.client.balance.settings import OutlierDetection

__all__ = ["Outliers", "Record"]

Key = TypeVar("Key")


class Record:
    """The calls of one backend since the last sweep, and its ejections."""

    __slots__ = ("ejected_at", "failed", "multiplier", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.multiplier = 0
        self.ejected_at: float | None = None

    def count(self, *, ok: bool) -> None:
        """Count a call that has ended."""
        if ok:
            self.succeeded += 1
        else:
            self.failed += 1


class Outliers(Generic[Key]):
    """The records of all backends, judged by :meth:`sweep` once in each interval."""

    def __init__(self, settings: OutlierDetection) -> None:
        self.settings = settings
        self.records: dict[Key, Record] = {}

    def keep(self, keys: Iterable[Key]) -> None:
        """Have a record for each of ``keys``, and no others."""
        self.records = {key: self.records.get(key) or Record() for key in keys}

    def is_ejected(self, key: Key) -> bool:
        """Whether a backend is left out now."""
        record = self.records.get(key)
        return record is not None and record.ejected_at is not None

    @property
    def ejected(self) -> list[Key]:
        """All that are left out now."""
        return [key for key, record in self.records.items() if record.ejected_at is not None]

    def sweep(self, now: float, random: Random) -> list[Key]:
        """Judge the calls since the last sweep, take back whose time is over; return whose ejection has changed."""
        before = set(self.ejected)
        judged = [(record, record.succeeded, record.failed) for record in self.records.values()]
        for record in self.records.values():
            record.succeeded = record.failed = 0
        if (rule := self.settings.success_rate) is not None:
            suspects = _slow_to_succeed(judged, rule.request_volume, rule.minimum_hosts, rule.stdev_factor)
            self._eject(suspects, rule.enforcement, now, random)
        if (failing := self.settings.failure_percentage) is not None:
            suspects = _failing(judged, failing.request_volume, failing.minimum_hosts, failing.threshold)
            self._eject(suspects, failing.enforcement, now, random)
        self._take_back(now)
        return [key for key in self.records if (key in before) != self.is_ejected(key)]

    def _eject(self, suspects: list[Record], enforcement: int, now: float, random: Random) -> None:
        ejected = len(self.ejected)
        for record in suspects:
            if record.ejected_at is not None:
                continue
            if ejected * 100 >= self.settings.max_ejected_percent * len(self.records):
                return
            if random.random() * 100 < enforcement:
                record.ejected_at = now
                record.multiplier += 1
                ejected += 1

    def _take_back(self, now: float) -> None:
        settings = self.settings
        longest = max(settings.base_ejection, settings.max_ejection)
        for record in self.records.values():
            if record.ejected_at is None:
                record.multiplier = max(0, record.multiplier - 1)
            elif now >= record.ejected_at + min(settings.base_ejection * record.multiplier, longest):
                record.ejected_at = None


_Judged = tuple[Record, int, int]


def _busy(judged: list[_Judged], volume: int, hosts: int) -> list[_Judged]:
    """Return whose calls were enough to be judged, or nobody when those are too few to compare."""
    busy = [one for one in judged if one[1] + one[2] >= max(volume, 1)]
    return busy if len(busy) >= hosts else []


def _slow_to_succeed(judged: list[_Judged], volume: int, hosts: int, factor: int) -> list[Record]:
    rates = [(record, ok / (ok + failed)) for record, ok, failed in _busy(judged, volume, hosts)]
    if not rates:
        return []
    mean = math.fsum(rate for _, rate in rates) / len(rates)
    stdev = math.sqrt(math.fsum((rate - mean) ** 2 for _, rate in rates) / len(rates))
    return _suspects(rates, lambda rate: rate < mean - stdev * factor / 1_000)


def _failing(judged: list[_Judged], volume: int, hosts: int, threshold: int) -> list[Record]:
    rates = [(record, 100 * failed / (ok + failed)) for record, ok, failed in _busy(judged, volume, hosts)]
    return _suspects(rates, lambda rate: rate > threshold)


def _suspects(rates: list[tuple[Record, float]], bad: Callable[[float], bool]) -> list[Record]:
    return [record for record, rate in rates if bad(rate)]
