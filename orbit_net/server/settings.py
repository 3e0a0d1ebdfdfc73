"""The settings of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orbit_net.errors import ConfigurationError
from orbit_net.net import UpkeepSettings
from orbit_net.server.admission import ConnectionLimits
from orbit_net.wire import FloodLimits, LifeSettings, PatienceSettings, ServerKeepaliveSettings, WireSettings
from orbit_net.wire.compression import ENCODINGS, check_encodings

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ServerSettings"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Sizes in bytes, times in seconds.

    ``max_receive_message`` of 4 MiB is gRPC's usual default. ``max_concurrent_streams`` of 100 a connection is what
    clients assume before they know; handlers that are still running count, whether or not the client still waits.
    ``flood`` says how much abuse is borne; the windows are explained in :class:`orbit_net.wire.WireSettings`.
    ``compression`` ("gzip" or "deflate") is for the replies of calls that do not choose themselves and whose client
    accepts it; there is none by default, because CPU is scarcer than bandwidth inside a cluster.
    ``accept_compression`` are the encodings that requests may have, others are UNIMPLEMENTED; the limit for received
    messages also holds while they are inflated.

    ``connections`` says how many there may be, ``backlog`` how many the system may hold before they are accepted.
    ``keepalive``, ``life`` and ``patience`` say when a connection is asked whether it is there, when it has lived long
    enough and when its peer is too slow; ``adaptive_window`` as in :class:`orbit_net.client.ChannelSettings`.
    """

    max_receive_message: int = 4_194_304
    max_send_message: int | None = None
    max_concurrent_streams: int = 100
    max_header_list: int = 16_384
    stream_window: int = 262_144
    connection_window: int = 4_194_304
    compression: str | None = None
    accept_compression: Collection[str] = ENCODINGS
    flood: FloodLimits = field(default_factory=FloodLimits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    backlog: int = 1_024
    keepalive: ServerKeepaliveSettings = field(default_factory=ServerKeepaliveSettings)
    life: LifeSettings = field(default_factory=LifeSettings)
    patience: PatienceSettings = field(default_factory=PatienceSettings)
    adaptive_window: bool = False

    def __post_init__(self) -> None:
        if self.max_send_message is not None and self.max_send_message < 0:
            raise ConfigurationError(f"max_send_message is {self.max_send_message!r}; it must not be negative")
        if self.backlog < 1:
            raise ConfigurationError(f"backlog is {self.backlog!r}; it must be at least 1")
        check_encodings(self.compression, self.accept_compression)
        self.wire()

    def wire(self) -> WireSettings:
        """Return what each connection announces to its client; checks the sizes."""
        return WireSettings(
            stream_window=self.stream_window,
            connection_window=self.connection_window,
            max_concurrent_streams=self.max_concurrent_streams,
            max_header_list=self.max_header_list,
            max_message=self.max_receive_message,
        )

    def upkeep(self) -> UpkeepSettings:
        """Return the policies of each connection."""
        return UpkeepSettings(
            keepalive=self.keepalive,
            life=self.life,
            patience=self.patience,
            adaptive_window=self.adaptive_window,
        )
