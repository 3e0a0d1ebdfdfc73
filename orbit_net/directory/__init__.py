"""Where nodes are, and which node owns an actor."""

from orbit_net.directory.etcd import EtcdClient, EtcdNodeResolver, EtcdSettings
from orbit_net.directory.placement import choose
from orbit_net.directory.resolver import Directory, NodeChange, NodeResolver
from orbit_net.directory.static import StaticNodeResolver

__all__ = [
    "Directory",
    "EtcdClient",
    "EtcdNodeResolver",
    "EtcdSettings",
    "NodeChange",
    "NodeResolver",
    "StaticNodeResolver",
    "choose",
]
