"""Whether the next attempt of a hedged call is sent, and when: pure policy.

Source: gRFC A6, "Hedging Policy". The attempts themselves are in :mod:`orbit_net.client.retry.hedged`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbit_net.client.config.service_config import HedgingPolicy
    from orbit_net.client.retry.retries import Throttle
    from orbit_net.status import Status

__all__ = ["HedgeTally", "Hedges"]


class Hedges:
    """What the attempts of one call have used up.

    ``sent`` attempts were begun, the first included. ``frozen``: no more are, because a server or the throttle said
    so; that is final for the call.
    """

    __slots__ = ("_policy", "_throttle", "frozen", "sent")

    def __init__(self, policy: HedgingPolicy, throttle: Throttle | None) -> None:
        self.sent = 0
        self.frozen = False
        self._policy = policy
        self._throttle = throttle

    @property
    def delay(self) -> float:
        """Seconds between two attempts, when nothing fails."""
        return self._policy.hedging_delay

    @property
    def more(self) -> bool:
        """Whether the policy has another attempt; what the throttle says is asked when it is due."""
        return self.sent < self._policy.attempts and not self.frozen

    def take(self) -> int | None:
        """Return how many attempts came before the next one, which is sent now, or None when there is none.

        The first attempt is always sent.
        """
        if self.sent and self._throttle is not None and not self._throttle.open:
            self.frozen = True
        if not self.more:
            return None
        self.sent += 1
        return self.sent - 1

    def failed(self, status: Status, pushback: float | None) -> bool:
        """Count a failure, and return whether the call goes on without that attempt.

        ``pushback`` are the seconds that the server asked for, below 0 for "do not try again", which stops hedges but
        not the attempts that are under way.
        """
        refused = pushback is not None and pushback < 0
        non_fatal = status in self._policy.non_fatal_status_codes
        if self._throttle is not None and (non_fatal or refused):
            self._throttle.failed()
        if refused:
            self.frozen = True
        return non_fatal

    def __repr__(self) -> str:
        return f"<Hedges {self.sent} of {self._policy.attempts} sent{', frozen' if self.frozen else ''}>"


class HedgeTally:
    """What has become of the attempts beside the ones that won, of one call or of a channel.

    ``hedges`` were sent after first attempts. ``cancelled`` attempts lost while they were under way: their servers were
    told to stop. ``duplicates`` are the losers, among them or not, that are known to have succeeded all the same: their
    calls ran to completion more than once. One that was cancelled in time never shows up there; one whose answer was
    under way does as soon as that arrives, even if its call is over.
    """

    __slots__ = ("_whole", "cancelled", "duplicates", "hedges")

    def __init__(self, whole: HedgeTally | None = None) -> None:
        self.hedges = 0
        self.cancelled = 0
        self.duplicates = 0
        self._whole = whole

    def add(self, *, hedges: int = 0, cancelled: int = 0, duplicates: int = 0) -> None:
        """Count for the call, and for its channel."""
        self.hedges += hedges
        self.cancelled += cancelled
        self.duplicates += duplicates
        if self._whole is not None:
            self._whole.add(hedges=hedges, cancelled=cancelled, duplicates=duplicates)

    def __repr__(self) -> str:
        return f"<HedgeTally {self.hedges} hedges, {self.cancelled} cancelled, {self.duplicates} duplicates>"
