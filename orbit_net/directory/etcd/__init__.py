"""The directory in etcd, spoken to over this library's own channels."""

from orbit_net.directory.etcd.client import EtcdClient
from orbit_net.directory.etcd.resolver import EtcdNodeResolver
from orbit_net.directory.etcd.settings import EtcdSettings

__all__ = ["EtcdClient", "EtcdNodeResolver", "EtcdSettings"]
