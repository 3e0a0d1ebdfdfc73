"""Accepting connections, whatever the system and the clients do."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from orbit_net.net import peer_of, prepare
from orbit_net.server.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream, Listener, SocketStream, TaskGroup

    from orbit_net.server.settings import ServerSettings

__all__ = ["Acceptor"]

_log = logging.getLogger("orbit_net.server")

_PAUSE: Final = 0.1
"""Seconds to wait when the system has no more file descriptors or memory: trying at once would only burn the CPU."""
_CLIENTS_FAULT: Final = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO})
"""What says nothing about the next connection; all else may last."""


class Acceptor:
    """Hands each connection that is admitted to ``serve`` in a task of its own, until it is told to stop."""

    def __init__(self, settings: ServerSettings, serve: Callable[[ByteStream], Awaitable[None]]) -> None:
        self.admission = Admission(settings.connections)
        self._tcp_keepalive = settings.keepalive.tcp_time
        self._serve = serve
        self._accepting: dict[Listener[SocketStream], anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None

    def start(self, tasks: TaskGroup, listener: Listener[SocketStream]) -> None:
        """Begin to accept from ``listener``."""
        scope = self._accepting[listener] = anyio.CancelScope(shield=True)
        self._tasks = tasks
        tasks.start_soon(self._accept, tasks, listener, scope)

    def stop(self) -> None:
        """Close all listeners. Does not wait."""
        for listener, scope in self._accepting.items():
            assert self._tasks is not None
            self._tasks.start_soon(_close, listener, scope)
        self._accepting.clear()

    async def _accept(self, tasks: TaskGroup, listener: Any, scope: anyio.CancelScope) -> None:
        """Accept until the listener is closed; only that ends it.

        Cancelling an accept on asyncio at the moment when a connection arrives loses that connection's socket.
        """
        with scope:
            while True:
                try:
                    transport = await listener.accept()
                except anyio.ClosedResourceError:
                    return
                except (OSError, anyio.BrokenResourceError) as error:
                    if listener not in self._accepting:
                        return
                    await self._bear(error)
                    continue
                tasks.start_soon(self._take, transport)

    async def _bear(self, error: Exception) -> None:
        """Go on after an error: of the system, which may pass, or of a client that was gone already."""
        # On trio, anyio shows every error of accept as a broken resource, that of too many open files included.
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in _CLIENTS_FAULT:
            _log.debug("accepting a connection failed: %s", cause)
            await anyio.lowlevel.checkpoint()
        else:
            _log.warning("accepting a connection failed: %s", cause)
            await anyio.sleep(_PAUSE)

    async def _take(self, transport: SocketStream) -> None:
        try:
            host = _host(transport)
            prepare(transport, tcp_keepalive=self._tcp_keepalive)
        except OSError:
            await transport.aclose()  # the client was gone before it was accepted
            return
        refusal = self.admission.enter(host)
        if refusal is not None:
            count = self.admission.to_log(anyio.current_time())
            if count:
                _log.warning("%d connections were refused: %s", count, refusal)
            await anyio.aclose_forcefully(transport)
            return
        try:
            await self._serve(transport)
        finally:
            self.admission.leave(host)

    def __repr__(self) -> str:
        return f"<Acceptor on {len(self._accepting)} listeners, {self.admission!r}>"


def _host(transport: SocketStream) -> str | None:
    """Return the IP address of the other end, None on a Unix socket."""
    address = peer_of(transport).address
    return address[0] if isinstance(address, tuple) else None


async def _close(listener: Listener[SocketStream], accepting: anyio.CancelScope) -> None:
    with anyio.CancelScope(shield=True):
        await listener.aclose()
    # anyio's own listener does not wake an accept that was about to wait when it was closed.
    accepting.cancel()
