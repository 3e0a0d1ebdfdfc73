"""Telling clients how busy a server is, so that they balance by it (ORCA, gRFC A51)."""

from orbit_net.load.metrics import LoadMetrics
from orbit_net.load.rate import Rate
from orbit_net.load.reporting import LoadReporting
from orbit_net.load.service import OrcaService

__all__ = ["LoadMetrics", "LoadReporting", "OrcaService", "Rate"]
