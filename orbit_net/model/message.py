"""What travels on the actor stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from orbit_net.model.node import NodeId
    from orbit_net.model.reference import AddressableReference

__all__ = [
    "Content",
    "Failure",
    "InfoRequest",
    "InfoResponse",
    "Invocation",
    "InvocationFailure",
    "InvocationReason",
    "InvocationResult",
    "InvocationValue",
    "Message",
    "RoutedUnicast",
    "Target",
    "Unicast",
]

_INT64 = 1 << 63


class InvocationReason(IntEnum):
    """Why an invocation comes to a node; the numbers are those of the wire."""

    INVOCATION = 0
    REROUTED = 1


@dataclass(frozen=True, slots=True)
class Invocation:
    """Asks an actor to run a method; ``arguments`` is JSON: an object of named arguments, or an array."""

    reference: AddressableReference
    method: str
    arguments: str = "{}"
    reason: InvocationReason = InvocationReason.INVOCATION

    def __post_init__(self) -> None:
        if not self.method:
            raise ConfigurationError(f"the invocation of {self.reference} needs a method that is not empty")


@dataclass(frozen=True, slots=True)
class InvocationValue:
    """The value that a method returned, as JSON."""

    value: str


@dataclass(frozen=True, slots=True)
class InvocationFailure:
    """How a method failed; ``platform`` is for the failing side's language only, and may be empty."""

    description: str
    platform: str = ""


InvocationResult: TypeAlias = InvocationValue | InvocationFailure
"""What came of an invocation that reached its actor."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A message could not be handled; nothing reached an actor."""

    description: str


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Asks a node who it is."""


@dataclass(frozen=True, slots=True)
class InfoResponse:
    """Says who a node is."""

    node_id: NodeId


Content: TypeAlias = Failure | InfoRequest | InfoResponse | Invocation | InvocationValue | InvocationFailure
"""What a message says."""


@dataclass(frozen=True, slots=True)
class Unicast:
    """Straight to one node."""

    target: NodeId


@dataclass(frozen=True, slots=True)
class RoutedUnicast:
    """To the last node of the list, by way of those before it; the next one is first."""

    targets: tuple[NodeId, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise ConfigurationError("a routed unicast needs at least one node")


Target: TypeAlias = Unicast | RoutedUnicast
"""Where a message goes."""


@dataclass(frozen=True, slots=True)
class Message:
    """A question or an answer; an answer repeats the ``message_id`` of its question.

    ``source`` and ``target`` may be None, for Orbit leaves them out where the stream itself says them. ``attempts``
    tells how often the delivery was tried before.
    """

    message_id: int
    content: Content
    source: NodeId | None = None
    target: Target | None = None
    attempts: int = 0

    def __post_init__(self) -> None:
        if not -_INT64 <= self.message_id < _INT64:
            raise ConfigurationError(f"Message.message_id is {self.message_id!r}; it must have 64 bits")
        if not 0 <= self.attempts < _INT64:
            raise ConfigurationError(f"Message.attempts is {self.attempts!r}; it must be from 0 to 2**63 - 1")
