"""A channel to services in the same process."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio

from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError
from orbit_net.server import Server
from orbit_net.testing.memory import MemoryConnector

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from random import Random
    from types import TracebackType

    from anyio.abc import ByteStream

    from orbit_net.client import ChannelSettings, OutgoingCall, ServiceConfig
    from orbit_net.codec import AnyCodec
    from orbit_net.interceptor import Interceptor
    from orbit_net.server import ServerSettings, ServerStream

__all__ = ["ChannelFor"]

_TARGET: Final = "memory:1"
_CLOSE_GRACE: Final = 2.0
"""Seconds that leaving waits for handlers and last frames; only a stream that stands still needs them."""


class ChannelFor:
    """``async with`` gives a :class:`~orbit_net.client.Channel` to a server of ``services``, over memory.

    The first three parameters are those of grpclib's class of this name: ``codec`` and ``status_details_codec`` are for
    both sides. ``settings``, ``interceptors``, ``service_config`` and ``random`` are the channel's, ``server_settings``
    and ``server_interceptors`` the server's. ``wrap`` may put something around the channel's end of each connection, a
    :class:`~orbit_net.testing.FaultyStream` for example. Inside the block, ``server`` is the server and ``connector``
    counts the connections.

    Cancellation: leaving closes both sides whatever happens; an exception of the block passes through as it is.

    Example::

        async with ChannelFor([Greeter()]) as channel:
            reply = await GreeterStub(channel).say(Hello(name="Ada"))
    """

    server: Server
    connector: MemoryConnector

    def __init__(
        self,
        services: Collection[Any],
        codec: AnyCodec | None = None,
        status_details_codec: Any = None,
        *,
        settings: ChannelSettings | None = None,
        interceptors: Sequence[Interceptor[OutgoingCall]] = (),
        service_config: ServiceConfig | str | Mapping[str, Any] | None = None,
        random: Random | None = None,
        server_settings: ServerSettings | None = None,
        server_interceptors: Sequence[Interceptor[ServerStream[Any, Any]]] = (),
        wrap: Callable[[ByteStream], ByteStream] | None = None,
    ) -> None:
        self.server = Server(
            services,
            codec=codec,
            status_details_codec=status_details_codec,
            settings=server_settings,
            interceptors=server_interceptors,
        )
        self._options: Mapping[str, Any] = {
            "codec": codec,
            "status_details_codec": status_details_codec,
            "settings": settings,
            "interceptors": interceptors,
            "service_config": service_config,
            "random": random,
        }
        self._wrap = wrap
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Channel:
        if self._stack is not None:
            raise ConfigurationError("a ChannelFor can be entered once; make a new one")
        self._stack = AsyncExitStack()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.server)
            tasks = anyio.create_task_group()
            await tasks.__aenter__()
            stack.push_async_exit(self._ending(tasks))
            self.connector = MemoryConnector(tasks, self.server.serve_stream, wrap=self._wrap)
            channel = Channel(_TARGET, connector=self.connector, **self._options)
            await stack.enter_async_context(channel)
            self._stack = stack.pop_all()
        return channel

    def _ending(self, tasks: anyio.abc.TaskGroup) -> Any:
        """Return what ends the server's side of the connections."""

        async def end(*_: object) -> None:
            self.server.close()
            try:
                with anyio.move_on_after(_CLOSE_GRACE):
                    await self.server.wait_closed()
            finally:
                tasks.cancel_scope.cancel()
                # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
                await tasks.__aexit__(None, None, None)

        return end

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stack is not None
        await self._stack.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<ChannelFor {self.server!r}>"
