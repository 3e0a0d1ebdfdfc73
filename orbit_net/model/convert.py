"""Between the domain's values and protobuf messages."""

from __future__ import annotations

from orbit_net.model.node import NodeId
from orbit_net.proto.orbit.shared import NodeIdProto

__all__ = ["NodeIdConverter"]


class NodeIdConverter:
    """:class:`NodeId` ↔ ``NodeIdProto``."""

    @staticmethod
    def to_proto(node_id: NodeId) -> NodeIdProto:
        """Return the message for ``node_id``."""
        return NodeIdProto(key=node_id.key, namespace=node_id.namespace)

    @staticmethod
    def from_proto(message: NodeIdProto) -> NodeId:
        """Return the id that ``message`` holds; raises :class:`ConfigurationError` for one without a key."""
        return NodeId(message.key, message.namespace)
