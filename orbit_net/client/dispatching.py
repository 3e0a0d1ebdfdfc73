"""Events of a channel in the shape of grpclib's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from grpclib.events import _DispatchChannelEvents
from grpclib.metadata import Deadline

from orbit_net.wire.metadata import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbit_net.client.response import Outcome
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.metadata import Metadata

__all__ = ["Dispatching"]


class Dispatching:
    """What ``grpclib.events.listen`` needs of a channel, and what shows its calls to those who listen."""

    _content_type: bytes

    def __init__(self, status_details_codec: Any) -> None:
        self.__dispatch__ = _DispatchChannelEvents()
        self.listeners = self.__dispatch__._listeners  # noqa: SLF001 - grpclib.events has no public question for it
        """False unless ``grpclib.events.listen`` was used on this channel. Not a property: asked for each message."""
        self._status_details_codec = status_details_codec

    async def dispatch_request(self, path: str, fields: Sequence[Field], until: float | None) -> Sequence[Field]:
        """Show a request to the listeners, who may change its metadata."""
        deadline = None if until is None else Deadline.from_timeout(until - anyio.current_time())
        (metadata,) = await self.__dispatch__.send_request(
            decode_metadata(fields),
            method_name=path,
            deadline=deadline,
            content_type=self._content_type.decode(),
        )
        return encode_metadata(metadata)

    async def dispatch_message(self, message: Any) -> Any:
        """Show a message that is being sent to the listeners, who may replace it."""
        (message,) = await self.__dispatch__.send_message(message)
        return message

    async def dispatch_reply(self, message: Any) -> Any:
        """Show a received message to the listeners, who may replace it."""
        (message,) = await self.__dispatch__.recv_message(message)
        return message

    async def dispatch_initial_metadata(self, metadata: Metadata) -> Metadata:
        """Show the metadata of response headers to the listeners, who may change it."""
        (metadata,) = await self.__dispatch__.recv_initial_metadata(metadata)
        return metadata

    async def dispatch_trailing_metadata(self, metadata: Metadata, outcome: Outcome) -> Metadata:
        """Show the metadata of trailers, and the outcome, to the listeners, who may change the metadata."""
        (metadata,) = await self.__dispatch__.recv_trailing_metadata(
            metadata,
            status=outcome.status,
            status_message=outcome.message,
            status_details=self.decode_details(outcome),
        )
        return metadata

    def decode_details(self, outcome: Outcome) -> Any:
        """Return the status details: bytes, or what the status details codec makes of them."""
        if outcome.details is None or self._status_details_codec is None:
            return outcome.details
        return self._status_details_codec.decode(outcome.status, outcome.message, outcome.details)
