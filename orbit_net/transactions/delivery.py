"""How messages of transactions reach their targets: what is promised, how it went, and which kinds are tried again."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from orbit_net.model import AddressableReference, NodeId, StringKey
from orbit_net.transactions.messages import (
    Abort,
    Acknowledge,
    Commit,
    Prepare,
    QueryStatus,
    StatusResponse,
    TransactionMessage,
    Vote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orbit_net.client import RetryPolicy, TransportConfig
    from orbit_net.errors import OrbitError

__all__ = [
    "COORDINATOR_TYPE",
    "BroadcastResult",
    "Delivery",
    "TransactionMessageSender",
    "coordinator_of",
    "retry_table",
]

COORDINATOR_TYPE: Final = "TransactionCoordinator"
"""The type of actor that stands for the coordinator of a node; its key is the node."""

_TRIED_AGAIN: Final[Mapping[type[TransactionMessage], bool]] = {
    Prepare: True,
    Vote: True,
    Commit: True,  # and beyond that by the coordinator, until it is acknowledged
    Abort: True,  # as well
    Acknowledge: True,
    QueryStatus: False,  # who is in doubt asks again by itself
    StatusResponse: False,  # and gets another answer
}


def retry_table(config: TransportConfig) -> Mapping[type[TransactionMessage], RetryPolicy | None]:
    """Return the retry policy of each kind of message, None for once only.

    The delays and the number of retries are those of ``config``: 100 ms, 200 ms, 400 ms by default. Tried again are
    UNAVAILABLE, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED; never INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED.
    """
    [method] = config.service_config().methods
    return MappingProxyType({kind: method.retry if again else None for kind, again in _TRIED_AGAIN.items()})


def coordinator_of(node_id: NodeId) -> AddressableReference:
    """Return the target that stands for the coordinator of a node."""
    return AddressableReference(COORDINATOR_TYPE, StringKey(str(node_id)))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a message to one target: why it failed, or None and what the target says to it.

    A target that refuses has both: an error, and the reply that says why. ``processing_time`` is what the other side
    took, in seconds.
    """

    error: OrbitError | None = None
    reply: TransactionMessage | None = None
    processing_time: float = 0.0


@dataclass(frozen=True, slots=True)
class BroadcastResult:
    """What came of a broadcast, target by target."""

    deliveries: Mapping[AddressableReference, Delivery]

    @property
    def succeeded(self) -> tuple[AddressableReference, ...]:
        """The targets that took the message."""
        return tuple(target for target, delivery in self.deliveries.items() if delivery.error is None)

    @property
    def failed(self) -> Mapping[AddressableReference, OrbitError]:
        """The targets that did not, and why."""
        return {target: each.error for target, each in self.deliveries.items() if each.error is not None}

    def __str__(self) -> str:
        failed = "".join(f"; {target}: {error}" for target, error in self.failed.items())
        return f"{len(self.succeeded)} of {len(self.deliveries)} delivered{failed}"


class TransactionMessageSender(Protocol):
    """What coordinators and participants need of a transport."""

    async def send_message(
        self,
        target: AddressableReference,
        message: TransactionMessage,
        *,
        node: NodeId | None = None,
        timeout: float | None = None,
    ) -> TransactionMessage | None:
        """Send to one target, on ``node`` if that is known, and return what it says. Raises :class:`OrbitError`."""

    async def broadcast_message(
        self,
        targets: Iterable[AddressableReference],
        message: TransactionMessage,
        *,
        node: NodeId | None = None,
        timeout: float | None = None,
    ) -> BroadcastResult:
        """Send to all targets and return how it went for each. Never raises for a target."""
