"""The settings of a channel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from orbit_net.client.backoff import BackoffPolicy
from orbit_net.errors import ConfigurationError
from orbit_net.net import UpkeepSettings
from orbit_net.wire import KeepaliveSettings, LifeSettings, PatienceSettings, WireSettings
from orbit_net.wire.compression import ENCODINGS, check_encodings

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ChannelSettings", "RetrySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How a channel tries calls again; which calls, the service config says.

    ``enabled`` False leaves only the retries of calls that the server cannot have seen. What a call has sent is kept
    until its response begins, in at most ``call_buffer`` bytes, and ``channel_buffer`` for all calls of the channel
    together: a call that needs more is not tried again. The defaults of 256 KiB and 1 MiB are those of gRFC A6.
    """

    enabled: bool = True
    call_buffer: int = 262_144
    channel_buffer: int = 1_048_576

    def __post_init__(self) -> None:
        for name in ("call_buffer", "channel_buffer"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigurationError(f"RetrySettings.{name} is {value!r}; it must not be negative")


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Times in seconds, sizes in bytes.

    ``max_receive_message`` of 4 MiB is gRPC's usual default; ``max_send_message`` has none, because the receiver
    decides. ``connect_timeout`` of 20 s is the least that gRPC's backoff document allows one attempt. The windows are
    explained in :class:`orbit_net.wire.WireSettings`; ``authority`` replaces the target's host in ``:authority``.

    ``compression`` ("gzip" or "deflate") is for the requests of calls that do not choose themselves; there is none by
    default, because CPU is scarcer than bandwidth inside a cluster. ``accept_compression`` are the encodings that
    replies may have; the limit for received messages also holds while they are inflated.

    ``idle_timeout`` after the last call has ended the connection is closed, and the next call makes a new one: five
    minutes keep it over a pause and give it back after the work (None keeps it for ever). ``adaptive_window`` measures
    the line by PING and lets both windows grow to what it holds, 16 MiB at most (:mod:`orbit_net.wire.bdp`).
    """

    max_receive_message: int = 4_194_304
    max_send_message: int | None = None
    connect_timeout: float = 20.0
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)
    stream_window: int = 262_144
    connection_window: int = 4_194_304
    compression: str | None = None
    accept_compression: Collection[str] = ENCODINGS
    authority: str | None = None
    user_agent: str | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)
    keepalive: KeepaliveSettings = field(default_factory=KeepaliveSettings)
    idle_timeout: float | None = 300.0
    adaptive_window: bool = False

    def __post_init__(self) -> None:
        if self.connect_timeout <= 0:
            raise ConfigurationError(f"connect_timeout is {self.connect_timeout!r}; it must be above 0 seconds")
        if self.max_send_message is not None and self.max_send_message < 0:
            raise ConfigurationError(f"max_send_message is {self.max_send_message!r}; it must not be negative")
        if self.idle_timeout is not None and not self.idle_timeout > 0:
            raise ConfigurationError(f"idle_timeout is {self.idle_timeout!r}; it must be above 0 seconds, or None")
        for name in ("authority", "user_agent"):
            value = getattr(self, name)
            if value is not None and not (value and value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name} is {value!r}; it must be printable ASCII")
        check_encodings(self.compression, self.accept_compression)
        self.wire()

    def wire(self) -> WireSettings:
        """Return what the connection announces to the server; checks the sizes."""
        return WireSettings(
            stream_window=self.stream_window,
            connection_window=self.connection_window,
            max_message=self.max_receive_message,
        )

    def upkeep(self, *, slower: int = 1) -> UpkeepSettings:
        """Return the policies of a connection that pings ``slower`` times as seldom as asked for.

        ``connect_timeout`` is the limit for the server's SETTINGS. A server may take its time over a call: how long its
        windows stay shut is the deadline's business, not a limit's.
        """
        keepalive = self.keepalive
        if slower > 1:
            keepalive = replace(keepalive, time=slower * keepalive.interval)
        return UpkeepSettings(
            keepalive=keepalive,
            life=LifeSettings(max_idle=self.idle_timeout),
            patience=PatienceSettings(handshake=inf, stall=inf),
            adaptive_window=self.adaptive_window,
        )
