"""Server reflection: a server tells tools such as grpcurl which services it has, and what their messages look like."""

from orbit_net.reflection.service import Reflection

__all__ = ["Reflection"]
