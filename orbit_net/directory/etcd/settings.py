"""The settings of the etcd directory. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from orbit_net.client import BackoffPolicy, ChannelSettings
from orbit_net.errors import ConfigurationError

__all__ = ["EtcdSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """How long things may take, and how long a silent node is believed in.

    ``lease``: a node that says nothing for so long is dead and its actors are free; whole seconds, since etcd counts in
    them. Ten seconds survive an election of etcd's own, which takes one or two. ``timeout`` bounds one question with
    all its tries, ``try_timeout`` one try at one endpoint. ``max_cached`` owners are remembered.
    """

    prefix: str = "/orbit"
    lease: int = 10
    timeout: float = 10.0
    try_timeout: float = 3.0
    pause: float = 0.1
    max_cached: int = 100_000
    channel: ChannelSettings = field(
        default_factory=lambda: ChannelSettings(
            connect_timeout=3.0, backoff=BackoffPolicy(initial=0.1, maximum=2.0), max_receive_message=67_108_864
        )
    )

    def __post_init__(self) -> None:
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise ConfigurationError(f"EtcdSettings.prefix is {self.prefix!r}; it must begin and must not end with '/'")
        for name in ("lease", "timeout", "try_timeout", "pause", "max_cached"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"EtcdSettings.{name} is {getattr(self, name)!r}; it must be above 0")
        if self.lease != int(self.lease):
            raise ConfigurationError(f"EtcdSettings.lease is {self.lease!r}; etcd counts in whole seconds")
