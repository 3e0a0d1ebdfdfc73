"""Interceptors for everyday needs; :mod:`orbit_net.interceptor` says how they work and how to write your own."""

from orbit_net.interceptors.authentication import BearerAuthentication, current_identity
from orbit_net.interceptors.bearer import BearerToken
from orbit_net.interceptors.concurrency import ConcurrencyLimit
from orbit_net.interceptors.deadline import DefaultDeadline
from orbit_net.interceptors.logging import CallLogging

__all__ = [
    "BearerAuthentication",
    "BearerToken",
    "CallLogging",
    "ConcurrencyLimit",
    "DefaultDeadline",
    "current_identity",
]
