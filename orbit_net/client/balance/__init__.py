"""Choosing a backend for each call: pure decisions, and what they decide over."""

from orbit_net.client.balance.settings import (
    Balancing,
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    SuccessRate,
    WeightedRoundRobin,
)

__all__ = [
    "Balancing",
    "FailurePercentage",
    "LeastRequest",
    "OutlierDetection",
    "PickFirst",
    "RingHash",
    "RoundRobin",
    "SuccessRate",
    "WeightedRoundRobin",
]
