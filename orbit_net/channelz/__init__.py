"""Channelz: what the channels, servers and connections of a process are doing, if they were put into a registry."""

from orbit_net.channelz.registry import ChannelzRegistry
from orbit_net.channelz.service import Channelz

__all__ = ["Channelz", "ChannelzRegistry"]
