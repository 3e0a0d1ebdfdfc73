"""The settings of coordinators and participants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from orbit_net.errors import ConfigurationError

__all__ = ["ParticipantConfig", "TransactionConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionConfig:
    """Limits and times of a coordinator. Times in seconds or :class:`~datetime.timedelta`.

    - ``timeout``: for the votes of one transaction; afterwards it is aborted. As Orbit's documentation has it.
    - ``idle_timeout``: how long a transaction may collect operations before it is given up.
    - ``completion_timeout``: how long ``commit_transaction`` waits after the decision until all have carried it out. It
      goes on afterwards, so this is only what a caller likes to wait.
    - ``resend_initial``, ``resend_max``: who does not vote or acknowledge is told again after the first, then after
      twice as long, and so on up to the second: soon enough for a lost message, seldom enough for a node that is down.
    - ``max_transactions`` at a time, unfinished ones included: beyond it none is begun, so nothing piles up.
    - ``max_operations`` of one transaction.
    """

    timeout: float = 30.0
    idle_timeout: float = 60.0
    completion_timeout: float = 5.0
    resend_initial: float = 0.5
    resend_max: float = 10.0
    max_transactions: int = 1_000
    max_operations: int = 1_000

    def __post_init__(self) -> None:
        for name in ("timeout", "idle_timeout", "completion_timeout", "resend_initial", "resend_max"):
            object.__setattr__(self, name, _seconds(f"TransactionConfig.{name}", getattr(self, name)))
        if self.resend_initial > self.resend_max:
            raise ConfigurationError(
                f"TransactionConfig.resend_initial is {self.resend_initial:g}; "
                f"it must be at most resend_max, {self.resend_max:g}"
            )
        for name in ("max_transactions", "max_operations"):
            _count(f"TransactionConfig.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantConfig:
    """Limits and times of the participants of one node. Times in seconds or :class:`~datetime.timedelta`.

    A participant that has voted yes and hears nothing asks the coordinator after ``ask_initial``, then after twice as
    long, up to ``ask_max``: its actor is locked meanwhile, and a question is cheap. ``remembered`` is how many ended
    transactions of each coordinator are known, so that late duplicates are told from new ones; what is older is
    refused.
    """

    ask_initial: float = 1.0
    ask_max: float = 30.0
    remembered: int = 10_000

    def __post_init__(self) -> None:
        for name in ("ask_initial", "ask_max"):
            object.__setattr__(self, name, _seconds(f"ParticipantConfig.{name}", getattr(self, name)))
        if self.ask_initial > self.ask_max:
            raise ConfigurationError(
                f"ParticipantConfig.ask_initial is {self.ask_initial:g}; it must be at most ask_max, {self.ask_max:g}"
            )
        _count("ParticipantConfig.remembered", self.remembered)


def _seconds(name: str, value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds, as a number or a timedelta")
    return float(seconds)


def _count(name: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number of at least 1")
