"""What a balancer asks of its channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orbit_net.client.balance.settings import Plan
    from orbit_net.client.channel import Channel
    from orbit_net.client.config.service_config import ServiceConfig
    from orbit_net.client.line import Line

__all__ = ["BalancerOwner"]


class BalancerOwner(Protocol):
    """What a balancer asks of its channel."""

    target: str

    def planned(self, config: ServiceConfig | None) -> Plan:
        """Take the service config of the resolver, None for the channel's own; return what it says of balancing."""

    def aside(self, line: Line) -> Channel:
        """Return a channel for calls of our own on ``line``."""

    def line_changed(self, line: Any) -> None:
        """The state of the line is another one."""
