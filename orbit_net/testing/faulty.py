"""A byte stream that breaks, ends or stands still at a chosen byte."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import ByteStream

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Break", "End", "Fault", "FaultyStream", "Pause"]

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens when ``at`` bytes have passed in one direction and more are to follow."""

    at: int

    def __post_init__(self) -> None:
        if self.at < 0:
            raise ConfigurationError(f"{type(self).__name__}.at is {self.at!r}; it must not be negative")

    async def strike(self, stream: ByteStream) -> None:
        """Do it to the stream underneath, in the operation that would pass the byte; what this raises, it raises.

        After :class:`anyio.EndOfStream` the direction stays at its end; otherwise the bytes go on.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Break(Fault):
    """The connection is lost: the stream is closed and :class:`anyio.BrokenResourceError` raised.

    So a frame that was being sent is torn: the other end reads its beginning, and then the end of the stream.
    """

    async def strike(self, stream: ByteStream) -> None:
        """Lose the connection."""
        await anyio.aclose_forcefully(stream)
        raise anyio.BrokenResourceError


@dataclass(frozen=True, slots=True)
class End(Fault):
    """The other side has closed in good order: what is received ends with :class:`anyio.EndOfStream`.

    What is sent is swallowed, as by a peer that no longer reads.
    """

    async def strike(self, stream: ByteStream) -> None:
        """End what is received."""
        raise anyio.EndOfStream


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """Nothing passes for ``seconds`` (those of the event loop), or until the event ``until`` is set."""

    seconds: float = 0.0
    until: anyio.Event | None = None

    async def strike(self, stream: ByteStream) -> None:
        """Wait."""
        if self.until is not None:
            await self.until.wait()
        else:
            await anyio.sleep(self.seconds)


class FaultyStream(ByteStream):
    """``stream`` with faults: in what is sent through it, and in what is received.

    Each happens once, in the order of its byte; bytes before it pass, those after it too, if there is anything left to
    pass through. ``pieces`` cuts what is received into that many bytes at most, so that a reader sees every border.
    ``sent`` and ``received`` count the bytes that have passed. Otherwise it behaves like ``stream``; a cancelled
    :meth:`send` may have sent a part.

    Example: the client loses its connection in the middle of the 100th byte that the server sends::

        connector = MemoryConnector(tasks, accept, wrap=lambda stream: FaultyStream(stream, receive=[Break(99)]))
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        send: Iterable[Fault] = (),
        receive: Iterable[Fault] = (),
        pieces: int | None = None,
    ) -> None:
        if pieces is not None and pieces < 1:
            raise ConfigurationError(f"pieces is {pieces!r}; it must be at least 1")
        self.sent = 0
        self.received = 0
        self._stream = stream
        self._pieces = pieces
        self._of_send = deque(sorted(send, key=_place))
        self._of_receive = deque(sorted(receive, key=_place))
        self._buffer = b""
        self._over = False
        self._swallows = False

    async def send(self, item: bytes) -> None:
        """Send what comes before the next fault, and let that happen."""
        while not self._swallows:
            faults = self._of_send
            room = faults[0].at - self.sent if faults else len(item)
            if room >= len(item):
                await self._stream.send(item)
                self.sent += len(item)
                return
            if room > 0:
                await self._stream.send(item[:room])
                self.sent += room
                item = item[room:]
            try:
                await faults.popleft().strike(self._stream)
            except anyio.EndOfStream:
                self._swallows = True

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Receive what comes before the next fault, or let that happen."""
        while self._of_receive and self._of_receive[0].at <= self.received:
            fault = self._of_receive.popleft()
            try:
                await fault.strike(self._stream)
            except anyio.EndOfStream:
                self._over = True
        if self._over:
            raise anyio.EndOfStream
        if not self._buffer:
            self._buffer = await self._stream.receive(max_bytes)
        limits = [max_bytes, len(self._buffer)]
        if self._pieces is not None:
            limits.append(self._pieces)
        if self._of_receive:
            limits.append(self._of_receive[0].at - self.received)
        size = min(limits)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self.received += size
        return data

    async def send_eof(self) -> None:
        """Close the sending direction."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the stream."""
        return self._stream.extra_attributes

    def __repr__(self) -> str:
        left = len(self._of_send) + len(self._of_receive)
        return f"<FaultyStream {self.sent} bytes sent, {self.received} received, {left} faults to come>"


def _place(fault: Fault) -> int:
    return fault.at
