"""A gRPC runtime in pure Python for asyncio and trio, and the network layer of Orbit on top of it.

Start with :class:`orbit_net.client.Channel` and :class:`orbit_net.server.Server`.
"""

__version__ = "0.1.0"
