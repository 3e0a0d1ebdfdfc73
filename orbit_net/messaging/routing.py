"""Where a message goes next. Pure: a function of this node, the message and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orbit_net.model import RoutedUnicast, Unicast

if TYPE_CHECKING:
    from orbit_net.model import Message, NodeId, Target

__all__ = ["MAX_DELIVERIES", "Deliver", "Forward", "Refuse", "Step", "route"]

MAX_DELIVERIES: Final = 64
"""Deliveries of one message, tries and reroutes together; two nodes that each name the other stop here."""

_MAX_HOPS: Final = 32
"""Nodes in one route: more than any sensible cluster has between two of its nodes."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """The message is for this node."""


@dataclass(frozen=True, slots=True)
class Forward:
    """The message goes on to ``node``, with ``target`` as what is left of its way."""

    node: NodeId
    target: Target


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message cannot go on."""

    reason: str


Step: TypeAlias = Deliver | Forward | Refuse


def route(here: NodeId, message: Message) -> Step:
    """Decide the next step of ``message`` at the node ``here``.

    A route names the nodes still to pass, the next one first; this node at its head is taken off. A route that comes
    back to this node, or names a node twice, is a loop and refused.
    """
    target = message.target
    if isinstance(target, RoutedUnicast):
        return _along(here, target.targets)
    if target is None or target.target == here:
        return Deliver()
    if message.attempts >= MAX_DELIVERIES:
        return Refuse(f"the message to {target.target} was delivered {message.attempts} times and did not arrive")
    return Forward(target.target, target)


def _along(here: NodeId, targets: tuple[NodeId, ...]) -> Step:
    if len(targets) > _MAX_HOPS:
        return Refuse(f"the route has {len(targets)} nodes; at most {_MAX_HOPS} are allowed")
    if len(set(targets)) != len(targets):
        return Refuse("the route names a node twice, which is a loop")
    rest = targets[1:] if targets[0] == here else targets
    if not rest:
        return Deliver()
    if here in rest:
        return Refuse(f"the route comes back to {here}, which is a loop")
    return Forward(rest[0], RoutedUnicast(rest) if len(rest) > 1 else Unicast(rest[0]))
