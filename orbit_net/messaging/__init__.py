"""Actors over the wire: hosted, linked, routed and invoked."""

from orbit_net.messaging.actor_type import idempotent
from orbit_net.messaging.actors import ActorServer
from orbit_net.messaging.connection_service import Invoke, OrbitConnectionService
from orbit_net.messaging.link import Link
from orbit_net.messaging.node import ActorNode
from orbit_net.messaging.reference import ActorProxy, ActorRef
from orbit_net.messaging.settings import ActorSettings, LinkSettings

__all__ = [
    "ActorNode",
    "ActorProxy",
    "ActorRef",
    "ActorServer",
    "ActorSettings",
    "Invoke",
    "Link",
    "LinkSettings",
    "OrbitConnectionService",
    "idempotent",
]
