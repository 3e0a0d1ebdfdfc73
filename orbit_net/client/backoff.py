"""How long to wait before the next connection attempt (gRPC *connection-backoff*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from random import Random

__all__ = ["BackoffPolicy"]


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """``initial`` seconds after the first failure, times ``multiplier`` after each further one, at most ``maximum``.

    Each delay is varied by ± ``jitter`` (a fraction), so that many clients do not come back at once. The defaults are
    those of the gRPC document; delays count from the start of the failed attempt.
    """

    initial: float = 1.0
    multiplier: float = 1.6
    jitter: float = 0.2
    maximum: float = 120.0

    def __post_init__(self) -> None:
        if not 0 < self.initial <= self.maximum:
            raise ConfigurationError(f"BackoffPolicy.initial is {self.initial!r}; it must be between 0 and maximum")
        if self.multiplier < 1:
            raise ConfigurationError(f"BackoffPolicy.multiplier is {self.multiplier!r}; it must be at least 1")
        if not 0 <= self.jitter < 1:
            raise ConfigurationError(f"BackoffPolicy.jitter is {self.jitter!r}; it must be at least 0 and below 1")

    def delay(self, failures: int, random: Random) -> float:
        """Return the seconds to wait after ``failures`` (>= 1) failed attempts in a row."""
        # Beyond 64 doublings every sensible policy is at its maximum, and the power would overflow.
        base = min(self.initial * self.multiplier ** min(failures - 1, 64), self.maximum)
        return base * random.uniform(1 - self.jitter, 1 + self.jitter)
