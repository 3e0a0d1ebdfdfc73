"""The domain's own values; protobuf stops at :mod:`orbit_net.model.convert`."""

from orbit_net.model.convert import NodeIdConverter
from orbit_net.model.node import NodeId

__all__ = ["NodeId", "NodeIdConverter"]
