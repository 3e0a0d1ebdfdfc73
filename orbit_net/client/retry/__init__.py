"""The one retry layer: calls that are sent again after a failure, and calls that are sent again before one."""

from orbit_net.client.retry.hedging import HedgeTally
from orbit_net.client.retry.retries import Throttle

__all__ = ["HedgeTally", "Throttle"]
