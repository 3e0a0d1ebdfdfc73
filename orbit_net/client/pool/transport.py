"""The transport settings that Orbit's network layer documents, and what they mean for channels and calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from orbit_net.client.backoff import BackoffPolicy
from orbit_net.client.config.service_config import MAX_ATTEMPTS, MethodConfig, RetryPolicy, ServiceConfig
from orbit_net.client.settings import ChannelSettings
from orbit_net.errors import ConfigurationError
from orbit_net.status import Status
from orbit_net.wire import KeepaliveSettings

__all__ = ["TransportConfig"]

RETRYABLE = frozenset({Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED})
"""What is tried again: lost and refused connections, a server's timeout, a server that is overloaded."""

_MAX_BACKOFF = 120.0
_MAX_RECONNECT = 5.0
"""Seconds between two attempts to connect: less than a circuit breaker isolates, so that each probe really connects."""
_DURATIONS = ("connect_timeout", "request_timeout", "retry_backoff_initial")
_OPTIONAL = ("keep_alive_interval", "keep_alive_timeout", "tcp_keepalive")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """How a node talks to other nodes. Durations are seconds or :class:`~datetime.timedelta`, sizes are bytes.

    The defaults are those of Orbit's production configuration, except that silence is not probed where an optional
    duration is None:

    - ``max_connections_per_endpoint``: a further connection is opened only while the open ones are full; 2 to 5 do for
      development, 10 to 20 for production, up to 50 for a high throughput.
    - ``connect_timeout``: for one attempt, up to the server's SETTINGS.
    - ``request_timeout``: for a call with one reply, over all its attempts; two or three times the expected P99. A
      stream of replies ends by its own deadline only.
    - ``keep_alive_interval``, ``keep_alive_timeout``: seconds of silence until a PING, and until the connection is
      given up after it (20 for None). ``tcp_keepalive`` is the same for the system's own probes.
    - ``max_message_size``: both ways.
    - ``retry_attempts``: retries after the first attempt, 0 for none; more than 4 are 4 (gRFC A6). The n-th waits for
      ``retry_backoff_initial * retry_backoff_multiplier ** (n - 1)``, ± 20 %. A lost connection is made again after the
      same delays, of at most five seconds.
    - ``http2_adaptive_window``: windows grow to what the line holds.
    """

    max_connections_per_endpoint: int = 10
    connect_timeout: float | timedelta = 5.0
    request_timeout: float | timedelta = 30.0
    keep_alive_interval: float | timedelta | None = 30.0
    keep_alive_timeout: float | timedelta | None = 10.0
    max_message_size: int = 16 * 1024 * 1024
    retry_attempts: int = 3
    retry_backoff_initial: float | timedelta = 0.1
    retry_backoff_multiplier: float = 2.0
    tcp_keepalive: float | timedelta | None = 10.0
    http2_adaptive_window: bool = True

    def __post_init__(self) -> None:
        for name in (*_DURATIONS, *_OPTIONAL):
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            object.__setattr__(self, name, _seconds(name, value))
        for name, least in (("max_connections_per_endpoint", 1), ("max_message_size", 1), ("retry_attempts", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _bad(name, value, f"an integer of at least {least}")
        multiplier: Any = self.retry_backoff_multiplier
        if not isinstance(multiplier, (int, float)) or not 1 <= multiplier < math.inf:
            raise _bad("retry_backoff_multiplier", multiplier, "a number of at least 1")

    def channel_settings(self) -> ChannelSettings:
        """Return the settings of each channel."""
        initial = seconds_of(self.retry_backoff_initial)
        timeout = self.keep_alive_timeout
        return ChannelSettings(
            keepalive=KeepaliveSettings(
                time=_optional(self.keep_alive_interval),
                timeout=KeepaliveSettings().timeout if timeout is None else seconds_of(timeout),
                tcp_time=_optional(self.tcp_keepalive),
            ),
            idle_timeout=None,  # the pool decides what is idle
            adaptive_window=self.http2_adaptive_window,
            max_receive_message=self.max_message_size,
            max_send_message=self.max_message_size,
            connect_timeout=seconds_of(self.connect_timeout),
            backoff=BackoffPolicy(
                initial=initial,
                multiplier=self.retry_backoff_multiplier,
                maximum=max(initial, _MAX_RECONNECT),
            ),
        )

    def service_config(self, *, timeout: bool = True) -> ServiceConfig:
        """Return what holds for every method; without its ``timeout`` if so asked."""
        retry = None
        if self.retry_attempts:
            initial = seconds_of(self.retry_backoff_initial)
            retry = RetryPolicy(
                max_attempts=min(self.retry_attempts + 1, MAX_ATTEMPTS),
                initial_backoff=initial,
                max_backoff=max(initial, _MAX_BACKOFF),
                backoff_multiplier=self.retry_backoff_multiplier,
                retryable_status_codes=RETRYABLE,
            )
        limit = seconds_of(self.request_timeout) if timeout else None
        return ServiceConfig(methods=(MethodConfig(timeout=limit, retry=retry),))


def seconds_of(duration: float | timedelta) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _optional(duration: float | timedelta | None) -> float | None:
    return None if duration is None else seconds_of(duration)


def _seconds(name: str, value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < math.inf:
        raise _bad(name, value, "above 0 seconds, as a number or a timedelta")
    return float(seconds)


def _bad(name: str, value: Any, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"TransportConfig.{name} is {value!r}; it must be {allowed}")
