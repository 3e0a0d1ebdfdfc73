"""Byte streams in memory, and networks of them: no socket, so every step is a scheduling step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import StapledByteStream

from orbit_net.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from anyio.abc import ByteStream, TaskGroup

__all__ = ["MemoryConnector", "MemoryNetwork", "memory_pair"]


def memory_pair(capacity: int = 16) -> tuple[ByteStream, ByteStream]:
    """Return the two ends of a connection; each direction holds at most ``capacity`` writes that were not read yet.

    Both have to be closed.
    """
    there: Any
    back: Any
    there, arrivals = anyio.create_memory_object_stream[bytes](capacity)
    back, answers = anyio.create_memory_object_stream[bytes](capacity)
    return (
        StapledByteStream(there, BufferedByteReceiveStream(answers)),
        StapledByteStream(back, BufferedByteReceiveStream(arrivals)),
    )


class MemoryConnector:
    """A connector for a :class:`~orbit_net.client.Channel`: hands the other end of each new stream to ``accept``.

    ``accept`` (``server.serve_stream``, for example) runs in ``tasks``. ``wrap`` may put something around the channel's
    end, a :class:`~orbit_net.testing.FaultyStream` for example. ``connects`` counts the attempts, ``links`` are the
    channel's ends of all streams so far.

    Example::

        async with Server([Greeter()]) as server, anyio.create_task_group() as tasks:
            async with Channel("memory:1", connector=MemoryConnector(tasks, server.serve_stream)) as channel:
                reply = await GreeterStub(channel).say(Hello(name="Ada"))
            server.close()
    """

    def __init__(
        self,
        tasks: TaskGroup,
        accept: Callable[[ByteStream], Coroutine[Any, Any, None]],
        *,
        wrap: Callable[[ByteStream], ByteStream] | None = None,
    ) -> None:
        self.connects = 0
        self.links: list[ByteStream] = []
        self._tasks = tasks
        self._accept = accept
        self._wrap = wrap

    async def __call__(self) -> ByteStream:
        """Connect. Does not wait."""
        self.connects += 1
        ours, theirs = memory_pair()
        if self._wrap is not None:
            ours = self._wrap(ours)
        self.links.append(ours)
        self._tasks.start_soon(self._accept, theirs)
        return ours

    def __repr__(self) -> str:
        return f"<MemoryConnector {self.connects} connects>"


class MemoryNetwork:
    """Servers by their targets, in memory. What they accept runs in ``tasks``.

    ``down`` are targets that refuse new connections; ``connects`` are the targets of all attempts so far, refused ones
    included; ``streams`` are both ends of each connection that was made and not cut, the connecting one first. Call
    :meth:`close` before ``tasks`` ends.

    Example::

        network = MemoryNetwork(tasks)
        network.serve("node-1:1", server.serve_stream)
        channel = Channel("node-1:1", connector=network.connector("node-1:1"))
        network.down.add("node-1:1")
        await network.cut()
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self.connects: list[str] = []
        self.streams: list[tuple[ByteStream, ByteStream]] = []
        self.down: set[str] = set()
        self._tasks = tasks
        self._accept: dict[str, Callable[[ByteStream], Coroutine[Any, Any, None]]] = {}

    def serve(self, target: str, accept: Callable[[ByteStream], Coroutine[Any, Any, None]]) -> None:
        """Let ``accept(stream)`` have the connections to ``target``, instead of who had them before."""
        self._accept[target] = accept

    async def connect(self, target: str) -> ByteStream:
        """Connect, or raise :class:`ConnectError` when nobody serves ``target`` or it is down. Does not wait."""
        self.connects.append(target)
        if target in self.down or target not in self._accept:
            raise ConnectError(f"nobody listens at {target}")
        ours, theirs = memory_pair()
        self.streams.append((ours, theirs))
        self._tasks.start_soon(self._accept[target], theirs)
        return ours

    def connector(self, target: str) -> Callable[[], Awaitable[ByteStream]]:
        """Return the connector of a channel to ``target``."""
        return partial(self.connect, target)

    async def cut(self) -> None:
        """Break every open connection, as a cable does: both ends lose it at once."""
        streams, self.streams = self.streams, []
        for pair in streams:
            for end in pair:
                await end.aclose()

    async def close(self) -> None:
        """Break what is open and refuse everything from now on: a server may be cancelled before it has begun."""
        self._accept.clear()
        await self.cut()

    def __repr__(self) -> str:
        return f"<MemoryNetwork {len(self._accept)} targets, {len(self.down)} down, {len(self.streams)} connections>"
