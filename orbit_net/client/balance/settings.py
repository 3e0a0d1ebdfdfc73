"""What a user says about balancing: one frozen class for each policy, named as in gRPC's service config."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orbit_net.errors import ConfigurationError

__all__ = [
    "Balancing",
    "FailurePercentage",
    "LeastRequest",
    "OutlierDetection",
    "PickFirst",
    "Plan",
    "RingHash",
    "RoundRobin",
    "SuccessRate",
    "WeightedRoundRobin",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickFirst:
    """All calls go to one address: the first that answers (gRFC A61, A62).

    ``attempt_delay`` seconds after the beginning of one attempt the next address is tried beside it; the 250 ms are
    those of RFC 8305, and the values from 0.1 to 2 are those that it allows. ``shuffle`` tries the addresses in an
    order of chance, so that many clients of one list do not all take its first one.
    """

    shuffle: bool = False
    attempt_delay: float = 0.25

    def __post_init__(self) -> None:
        _between("PickFirst.attempt_delay", self.attempt_delay, 0.1, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    """Calls go to all backends in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedRoundRobin:
    """Calls go to backends in proportion to weights: those that they report (gRFC A58), else those of the resolver.

    A reported weight is ``qps / (utilization + eps / qps * error_penalty)``. It counts after ``blackout`` seconds of
    reports, because a server that has just started is not yet what it will be, and until ``expiry`` seconds after the
    last one; all weights are looked at every ``update_period`` seconds (0.1 at least). Reports come with the trailers
    of calls, or, with ``out_of_band``, every ``report_period`` seconds on a stream of their own. ``reports`` False
    takes notice of no report. All times are in seconds, and the defaults are those of the gRFC.
    """

    reports: bool = True
    out_of_band: bool = False
    report_period: float = 10.0
    blackout: float = 10.0
    expiry: float = 180.0
    update_period: float = 1.0
    error_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("blackout", 0), ("error_penalty", 0), ("update_period", 0.1)):
            _between(f"WeightedRoundRobin.{name}", getattr(self, name), least, math.inf)
        for name in ("expiry", "report_period"):
            _above_zero(f"WeightedRoundRobin.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequest:
    """A call goes to the backend with the fewest open calls among ``choices`` taken by chance (gRFC A48).

    Two choices are almost as good as looking at all of them, and clients that do not know of each other do not all run
    to the same one. 2 to 10; more are 10, as in the gRFC.
    """

    choices: int = 2

    def __post_init__(self) -> None:
        if not _is_integer(self.choices) or self.choices < 2:
            raise _bad("LeastRequest.choices", self.choices, "an integer of at least 2")
        object.__setattr__(self, "choices", min(self.choices, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash:
    """Calls with the same key go to the same backend, and most still do when one comes or leaves (gRFC A42, A76).

    The key is the ``hash_key`` of the call, else the value of the metadata ``header``, else chance.

    Each server has ``places`` on the ring for each unit of its weight, so that one that leaves moves only its own keys;
    the 128 give servers equal shares within some 10 %. They are halved while the ring would have more than
    ``max_ring_size`` places, each of which takes 16 bytes, and 3 µs to make. With ``places`` None, as in gRPC's JSON,
    the ring is that of the gRFC, on which clients in other languages agree: ``min_ring_size`` places at least, which
    the servers share, so that one of ten that leaves moves up to twice its share.
    """

    min_ring_size: int = 1_024
    max_ring_size: int = 4_096
    header: str | None = None
    places: int | None = 128

    def __post_init__(self) -> None:
        if self.places is not None and (not _is_integer(self.places) or not 1 <= self.places <= 65_536):
            raise _bad("RingHash.places", self.places, "an integer from 1 to 65536, or None")
        for name in ("min_ring_size", "max_ring_size"):
            value = getattr(self, name)
            if not _is_integer(value) or not 1 <= value <= 8_388_608:
                raise _bad(f"RingHash.{name}", value, "an integer from 1 to 8388608")
        if self.min_ring_size > self.max_ring_size:
            raise _bad("RingHash.min_ring_size", self.min_ring_size, f"at most max_ring_size, {self.max_ring_size}")
        header: Any = self.header
        if header is not None and (not isinstance(header, str) or not header or header != header.lower()):
            raise _bad("RingHash.header", header, "the key of metadata, in lower case")
        if header is not None and header.endswith("-bin"):
            raise _bad("RingHash.header", header, "the key of metadata that is text")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRate:
    """Ejects whose rate of success is ``stdev_factor`` / 1000 standard deviations below the mean of all (gRFC A50).

    Only backends with ``request_volume`` calls in the interval are looked at, and only if they are ``minimum_hosts``;
    ``enforcement`` is the chance in percent that a backend that was found is ejected.
    """

    stdev_factor: int = 1_900
    enforcement: int = 100
    minimum_hosts: int = 5
    request_volume: int = 100

    def __post_init__(self) -> None:
        _percent("SuccessRate.enforcement", self.enforcement)
        _counts("SuccessRate", self, "stdev_factor", "minimum_hosts", "request_volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePercentage:
    """Ejects those of whose calls more than ``threshold`` percent failed (gRFC A50); else as :class:`SuccessRate`."""

    threshold: int = 85
    enforcement: int = 100
    minimum_hosts: int = 5
    request_volume: int = 50

    def __post_init__(self) -> None:
        _percent("FailurePercentage.threshold", self.threshold)
        _percent("FailurePercentage.enforcement", self.enforcement)
        _counts("FailurePercentage", self, "minimum_hosts", "request_volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """Leaves out, for a while, backends whose calls fail more than those of the others (gRFC A50); seconds.

    Every ``interval`` the calls since the last time are judged by ``success_rate`` and ``failure_percentage`` (None:
    not by that). A backend is out for ``base_ejection`` times the number of times it was found, at most
    ``max_ejection``. No further one is ejected while ``max_ejected_percent`` of all are. ``child`` is the policy that
    chooses among the rest; with ``PickFirst``, which has nobody else to choose, nothing is judged.
    """

    interval: float = 10.0
    base_ejection: float = 30.0
    max_ejection: float = 300.0
    max_ejected_percent: int = 10
    success_rate: SuccessRate | None = field(default_factory=SuccessRate)
    failure_percentage: FailurePercentage | None = None
    child: PickFirst | RoundRobin | WeightedRoundRobin | LeastRequest | RingHash = field(default_factory=RoundRobin)

    def __post_init__(self) -> None:
        for name in ("interval", "base_ejection", "max_ejection"):
            _above_zero(f"OutlierDetection.{name}", getattr(self, name))
        _percent("OutlierDetection.max_ejected_percent", self.max_ejected_percent)
        if isinstance(self.child, OutlierDetection):
            raise _bad("OutlierDetection.child", self.child, "another policy than OutlierDetection")


Balancing: TypeAlias = PickFirst | RoundRobin | WeightedRoundRobin | LeastRequest | RingHash | OutlierDetection
"""Any of the policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a channel does with many backends: its policy, and the service whose health each of them is asked for.

    ``health_check`` None asks nobody; the empty name is the health of the whole server (gRFC A17). A channel whose
    policy is ``PickFirst`` does not ask.
    """

    balancing: Balancing = field(default_factory=PickFirst)
    health_check: str | None = None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _between(name: str, value: Any, least: float, most: float) -> None:
    if not _is_number(value) or not least <= value <= most or value == math.inf:
        allowed = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
        raise _bad(name, value, allowed)


def _above_zero(name: str, value: Any) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise _bad(name, value, "a number of seconds above 0")


def _percent(name: str, value: Any) -> None:
    if not _is_integer(value) or not 0 <= value <= 100:
        raise _bad(name, value, "an integer from 0 to 100")


def _counts(kind: str, settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not _is_integer(value) or value < 0:
            raise _bad(f"{kind}.{name}", value, "an integer of at least 0")


def _bad(name: str, value: Any, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value!r}; it must be {allowed}")
