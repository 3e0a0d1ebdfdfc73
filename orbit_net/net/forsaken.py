"""The streams of one connection that a call has left, and whose answers are of interest all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.net.stream import Stream
    from orbit_net.wire import Connection as Wire
    from orbit_net.wire import HeaderBlock

__all__ = ["Forsaken"]

_REMEMBERED: Final = 1_024
"""Streams that are kept in mind: most have no answer, and stay until others come."""


class Forsaken:
    """Tells of answers that were under way when their streams were reset.

    Invariant: the streams here are those in ``awaited`` of the wire's receiver.
    """

    __slots__ = ("_by_id", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._by_id: dict[int, Callable[[HeaderBlock], None]] = {}
        self._wire = wire

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, stream: Stream, on_answer: Callable[[HeaderBlock], None]) -> None:
        """Release a stream that nobody wants, and call ``on_answer(trailers)`` if the peer had answered it already.

        The call comes from the reader and must not block. It is about the last 1,024 streams of the connection.
        """
        still_open = not stream.ended and stream.failure is None
        stream.release()
        if still_open:
            if len(self._by_id) >= _REMEMBERED:
                self._take(next(iter(self._by_id)))
            self._by_id[stream.id] = on_answer
            self._wire.receiver.awaited.add(stream.id)

    def answered(self, stream_id: int, trailers: HeaderBlock) -> None:
        """The answer of a stream has arrived."""
        on_answer = self._take(stream_id)
        if on_answer is not None:
            on_answer(trailers)

    def _take(self, stream_id: int) -> Callable[[HeaderBlock], None] | None:
        self._wire.receiver.awaited.discard(stream_id)
        return self._by_id.pop(stream_id, None)

    def __repr__(self) -> str:
        return f"<Forsaken {len(self._by_id)} streams>"
