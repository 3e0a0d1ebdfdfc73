"""The SETTINGS of both sides (RFC 9113 §6.5), kept and validated by ``h2.settings``."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from h2.exceptions import InvalidSettingsValueError
from h2.settings import SettingCodes, Settings

from orbit_net.errors import ConfigurationError, RemoteProtocolError
from orbit_net.wire.frames import DEFAULT_MAX_FRAME_SIZE, DEFAULT_WINDOW, MAX_WINDOW
from orbit_net.wire.hpack import MAX_TABLE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PeerSettings", "WireSettings", "parse_settings"]

_SETTING = Struct(">HI")
_KNOWN: Final = frozenset(code.value for code in SettingCodes)
_UNLIMITED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class WireSettings:
    """What one end of a connection allows the other; sizes in bytes.

    The windows bound what a peer can make us hold: a stream may have ``stream_window`` unread bytes, all streams
    together ``connection_window``. 64 KiB, the protocol's default, would cost a round trip for every large message;
    these two hold a fast peer on a long line and still only a few MiB for each connection. ``max_concurrent_streams``
    of 100 is what clients assume before they know (gRPC over HTTP/2). ``send_high_water`` is when a sender begins to
    wait, for 64 KiB keep any socket busy; ``connection_high_water`` is what the replies of all streams may hold
    together before their handlers wait (CVE-2019-9517).
    """

    stream_window: int = 262_144
    connection_window: int = 4_194_304
    max_concurrent_streams: int = 100
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE
    max_header_list: int = 16_384
    max_message: int = 4_194_304
    send_high_water: int = 65_536
    connection_high_water: int = 4_194_304

    def __post_init__(self) -> None:
        # With less, a window could be used up by half of a message's prefix, which nobody can take and give back.
        _check("stream_window", self.stream_window, 64, MAX_WINDOW)
        _check("connection_window", self.connection_window, DEFAULT_WINDOW, MAX_WINDOW)
        _check("max_concurrent_streams", self.max_concurrent_streams, 1, _UNLIMITED)
        _check("max_frame_size", self.max_frame_size, DEFAULT_MAX_FRAME_SIZE, 2**24 - 1)
        _check("max_header_list", self.max_header_list, 1_024, _UNLIMITED)
        _check("max_message", self.max_message, 0, _UNLIMITED)
        _check("send_high_water", self.send_high_water, 1, _UNLIMITED)
        _check("connection_high_water", self.connection_high_water, 1, _UNLIMITED)

    def pairs(self, *, client: bool) -> list[tuple[int, int]]:
        """Return what the first SETTINGS frame says; a client also refuses pushes."""
        common = [
            (SettingCodes.HEADER_TABLE_SIZE.value, MAX_TABLE_SIZE),
            (SettingCodes.INITIAL_WINDOW_SIZE.value, self.stream_window),
            (SettingCodes.MAX_FRAME_SIZE.value, self.max_frame_size),
            (SettingCodes.MAX_HEADER_LIST_SIZE.value, self.max_header_list),
        ]
        if client:
            return [*common, (SettingCodes.ENABLE_PUSH.value, 0)]
        return [*common, (SettingCodes.MAX_CONCURRENT_STREAMS.value, self.max_concurrent_streams)]


class PeerSettings:
    """What the peer allows us; the protocol's defaults until its SETTINGS arrive.

    ``max_concurrent_streams`` is 100 until then, as clients of gRPC assume.
    """

    __slots__ = ("_may_push", "_settings", "max_concurrent_streams", "received")

    def __init__(self, *, peer_is_client: bool) -> None:
        self._settings = Settings(client=peer_is_client)
        self._may_push = peer_is_client  # only a client may speak of pushes it would take (RFC 9113 §6.5.2)
        self.max_concurrent_streams = 100
        self.received = False

    @property
    def initial_window(self) -> int:
        """The window of each new stream, in bytes."""
        return self._settings.initial_window_size

    @property
    def max_frame_size(self) -> int:
        """The largest payload of one frame, in bytes."""
        return self._settings.max_frame_size

    @property
    def header_table_size(self) -> int:
        """The largest dynamic table that the peer's decoder keeps, in bytes."""
        return self._settings.header_table_size

    @property
    def max_header_list(self) -> int | None:
        """The largest header list that the peer says it accepts, or None."""
        return self._settings.max_header_list_size

    def apply(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Take over one SETTINGS frame; raises :class:`RemoteProtocolError` for a value out of range."""
        self.received = True
        for identifier, value in pairs:
            if identifier not in _KNOWN:
                continue  # RFC 9113 §6.5.2: unknown settings are ignored
            if identifier == SettingCodes.ENABLE_PUSH and value and not self._may_push:
                raise RemoteProtocolError("setting: a server enables push")
            try:
                self._settings[SettingCodes(identifier)] = value
            except InvalidSettingsValueError as error:
                raise RemoteProtocolError(f"setting: {error}", ErrorCodes(error.error_code)) from error
            self._settings.acknowledge()  # one at a time: a frame may name a setting twice, and the last counts
        self.max_concurrent_streams = self._settings.get(SettingCodes.MAX_CONCURRENT_STREAMS, _UNLIMITED)


def parse_settings(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return the pairs of a SETTINGS payload, in order."""
    if (end - start) % 6:
        raise RemoteProtocolError(f"SETTINGS of {end - start} bytes, not a multiple of 6", ErrorCodes.FRAME_SIZE_ERROR)
    return [_SETTING.unpack_from(data, position) for position in range(start, end, 6)]


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value!r}; it must be between {low} and {high}")
