"""For the tests of those who use orbit_net: no port, no sleep, and faults where they are wanted (docs/testing.md)."""

from orbit_net.testing.channel import ChannelFor
from orbit_net.testing.clock import VirtualClock, virtual_time
from orbit_net.testing.faulty import Break, End, Fault, FaultyStream, Pause
from orbit_net.testing.memory import MemoryConnector, MemoryNetwork, memory_pair

__all__ = [
    "Break",
    "ChannelFor",
    "End",
    "Fault",
    "FaultyStream",
    "MemoryConnector",
    "MemoryNetwork",
    "Pause",
    "VirtualClock",
    "memory_pair",
    "virtual_time",
]
