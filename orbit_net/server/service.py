"""The base of generated service bases: handlers of the four kinds out of plain methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from grpclib.const import Handler

    from orbit_net.server.call import ServerStream

__all__ = ["Service"]


class Service(ABC):
    """One service. A generated base says in ``__mapping__`` which of its methods answers which path."""

    @abstractmethod
    def __mapping__(self) -> dict[str, Handler]:
        """Return a handler for each path, in the shape of grpclib's."""

    def __descriptors__(self) -> tuple[bytes, ...]:
        """Return the serialized ``FileDescriptorProto`` of each file that defines the service, and of its imports.

        Generated bases know them; without them, server reflection can only tell the name of the service.
        """
        return ()

    def _unary_unary(
        self, method: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[ServerStream[Any, Any]], Awaitable[None]]:
        async def handle(stream: ServerStream[Any, Any]) -> None:
            await stream.send_message(await method(await stream.recv_message()))

        return handle

    def _unary_stream(
        self, method: Callable[[Any], AsyncIterator[Any]]
    ) -> Callable[[ServerStream[Any, Any]], Awaitable[None]]:
        async def handle(stream: ServerStream[Any, Any]) -> None:
            await _send_all(stream, method(await stream.recv_message()))

        return handle

    def _stream_unary(
        self, method: Callable[[AsyncIterator[Any]], Awaitable[Any]]
    ) -> Callable[[ServerStream[Any, Any]], Awaitable[None]]:
        async def handle(stream: ServerStream[Any, Any]) -> None:
            await stream.send_message(await method(stream))

        return handle

    def _stream_stream(
        self, method: Callable[[ServerStream[Any, Any]], Awaitable[None] | AsyncIterator[Any]]
    ) -> Callable[[ServerStream[Any, Any]], Awaitable[None]]:
        async def handle(stream: ServerStream[Any, Any]) -> None:
            answer: Any = method(stream)
            if hasattr(answer, "__aiter__"):
                await _send_all(stream, answer)
            else:
                await answer

        return handle


async def _send_all(stream: ServerStream[Any, Any], replies: AsyncIterator[Any]) -> None:
    """Send what a generator yields, and close it in this task whatever happens."""
    try:
        async for reply in replies:
            await stream.send_message(reply)
    finally:
        if isasyncgen(replies):
            await replies.aclose()
