"""A call that is about to be sent, as client interceptors see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from grpclib.metadata import Deadline

from orbit_net.errors import LocalProtocolError
from orbit_net.wire.metadata import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from orbit_net.client.attempt import Attempt
    from orbit_net.client.call import ClientStream
    from orbit_net.client.retry.hedging import HedgeTally
    from orbit_net.interceptor import EndHook, MessageHook
    from orbit_net.net import Peer
    from orbit_net.wire.metadata import Metadata

__all__ = ["OutgoingCall"]


class OutgoingCall:
    """Made for the interceptors of a call, which may change it until the last of them goes on.

    What is changed after ``await next(call)`` has no effect, but for hooks, which count from then on.
    """

    __slots__ = ("_attempt", "_metadata", "_stream", "opened", "scope")

    def __init__(self, stream: ClientStream[Any, Any], attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt
        self._metadata: Metadata | None = None
        self.scope = anyio.CancelScope()
        self.opened = False

    @property
    def method(self) -> str:
        """The path of the method: ``/package.Service/Method``."""
        return self._stream.method

    @property
    def metadata(self) -> Metadata:
        """The metadata that will be sent: text values, and bytes under keys that end in ``-bin``."""
        if self._metadata is None:
            self._metadata = decode_metadata(self._attempt.fields)
        return self._metadata

    @property
    def deadline(self) -> Deadline | None:
        """When the call ends at the latest, the time that the interceptors take included; may be set before it is sent.

        Setting it later raises :class:`LocalProtocolError`.
        """
        until = self._attempt.deadline
        return None if until is None else Deadline.from_timeout(max(0.0, until - anyio.current_time()))

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        if self.opened:
            raise LocalProtocolError("the deadline can be set until the call is sent")
        self._attempt.deadline = self.scope.deadline = anyio.current_time() + deadline.time_remaining()

    @property
    def secure(self) -> bool:
        """Whether the channel encrypts what it sends (TLS)."""
        return self._stream.secure

    @property
    def peer(self) -> Peer | None:
        """The other end of the connection; None until the call was sent."""
        return self._stream.peer

    @property
    def hedging(self) -> HedgeTally | None:
        """What has become of the hedges of this call, for hooks; None where it is not hedged."""
        return self._stream.hedging

    @property
    def trailing_metadata(self) -> Metadata | None:
        """The metadata of the trailers; None until they arrived, so it is for hooks."""
        return self._stream.trailing_metadata

    def on_send(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is sent, and send what it returns."""
        self._stream.on_send(hook)

    def on_receive(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is received, and give what it returns to the application."""
        self._stream.on_receive(hook)

    def on_end(self, hook: EndHook) -> None:
        """Call ``hook(status, text)`` once, when the call is over and has been let go. It must not block.

        It is told CANCELLED of a call that its user left early.
        """
        self._stream.on_end(hook)

    async def send(self) -> None:
        """Send the request headers: what the chain ends in. Raises :class:`LocalProtocolError` when called twice."""
        if self.opened:
            raise LocalProtocolError(f"an interceptor of {self.method} went on twice; there is one retry layer")
        if self._metadata is not None:
            self._attempt.fields = encode_metadata(self._metadata)
        self.opened = True
        await self._stream.start_request()

    def __repr__(self) -> str:
        return f"<OutgoingCall {self.method} {'sent' if self.opened else 'new'}>"
