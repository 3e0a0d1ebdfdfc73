"""Actor messages between nodes."""

from orbit_net.messaging.connection_service import Invoke, OrbitConnectionService

__all__ = ["Invoke", "OrbitConnectionService"]
