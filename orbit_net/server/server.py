"""A server: services on addresses, one task group, and a graceful end."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio import TASK_STATUS_IGNORED
from grpclib.events import _DispatchServerEvents

from orbit_net.codec import Codec, content_type_of
from orbit_net.errors import ConfigurationError, ConnectError
from orbit_net.interceptor import compose
from orbit_net.net import Connection, Credentials, Timers, listen, parse_address, peer_of, tls_for
from orbit_net.server.acceptor import Acceptor
from orbit_net.server.call import ServerStream
from orbit_net.server.request import read_request
from orbit_net.server.response import headers_template, http_template, status_fields
from orbit_net.server.settings import ServerSettings
from orbit_net.server.workers import Workers
from orbit_net.wire import Traffic
from orbit_net.wire.compression import ENCODINGS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup, TaskStatus
    from grpclib.const import Handler, Status

    from orbit_net.codec import AnyCodec
    from orbit_net.interceptor import Interceptor
    from orbit_net.net import Stream, TlsConfig
    from orbit_net.server.request import Rejection, RequestHead

__all__ = ["Server"]

_log = logging.getLogger("orbit_net.server")

_CLOSE_GRACE: Final = 2.0
"""Seconds that leaving the server waits for the last frames to be read by the clients."""


class Server:
    """Serves ``services``: objects whose ``__mapping__`` names a handler for each path, as generated bases have it.

    ``codec`` turns messages into bytes; ``status_details_codec`` (grpclib's shape) encodes ``GRPCError.details``, which
    are bytes or the messages of :mod:`orbit_net.details` without it. ``interceptors`` stand around each handler, the
    first one outermost (see :mod:`orbit_net.interceptor`). ``tls`` encrypts every connection; the addresses stay as
    they are. ``random`` varies the maximum age of connections. Two services with the same path, and certificates that
    are not usable, raise :class:`ConfigurationError`.

    Making one needs no event loop; using it needs ``async with``, which owns the tasks of connections and handlers.
    Leaving the block ends at once what is still open; call :meth:`drain` before to let calls finish.

    Example::

        async with Server([Greeter()]) as server:
            await server.serve("127.0.0.1:50051")
    """

    def __init__(
        self,
        services: Collection[Any],
        *,
        codec: AnyCodec | None = None,
        status_details_codec: Any = None,
        settings: ServerSettings | None = None,
        tls: TlsConfig | None = None,
        interceptors: Sequence[Interceptor[ServerStream[Any, Any]]] = (),
        random: Random | None = None,
    ) -> None:
        self.codec: AnyCodec = Codec() if codec is None else codec
        self.settings = settings or ServerSettings()
        self.timers = Timers()
        self.tls = None if tls is None else Credentials(tls, server=True)
        """What is presented and trusted; ``tls.reload()`` reads the files at once. None in plain text."""
        content_type, accepted = content_type_of(self.codec), self.settings.accept_compression
        self.headers = headers_template(content_type, accepted)
        self.headers_of = {name: headers_template(content_type, accepted, name) for name in ENCODINGS}
        self.chain = compose(interceptors, ServerStream.handle)
        """What each call goes through before its handler; None without interceptors."""
        self.__dispatch__ = _DispatchServerEvents()
        self.listeners = self.__dispatch__._listeners  # noqa: SLF001 - grpclib.events has no public question for it
        """False unless ``grpclib.events.listen`` was used on this server. Not a property: asked for each message."""
        self.traffic = Traffic()
        """What the connections that have ended have carried."""
        self._handlers = _collect(services)
        self._status_details_codec = status_details_codec
        self._wire_settings = self.settings.wire()
        self._upkeep = self.settings.upkeep()
        self._random = random or Random()
        self._tasks: TaskGroup | None = None
        self._workers: Workers | None = None
        self._acceptor = Acceptor(self.settings, self.serve_stream)
        self._connections: set[Connection] = set()
        self._addresses: list[str] = []
        self._draining = False
        self._closed = False
        self._idle: anyio.Event | None = None

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a server can be entered once; make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._workers = Workers(self._tasks)
        self._tasks.start_soon(self.timers.run)
        if self.tls is not None:
            self._tasks.start_soon(self.tls.watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self.close()
        try:
            with anyio.move_on_after(_CLOSE_GRACE):
                await self._wait_idle()
        finally:
            self._tasks.cancel_scope.cancel()
            # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)

    async def listen(self, address: str) -> list[str]:
        """Begin to accept connections on ``address`` and return the targets that reach it.

        Port 0 lets the system choose. May be called for several addresses. Raises :class:`ConfigurationError` for an
        address that is malformed or cannot be bound.
        """
        tasks = self._entered()
        where = parse_address(address)
        if self.tls is None and tls_for(address, None) is not None:
            raise ConfigurationError(f"the address {address!r} asks for TLS, and the server was made without tls=")
        if self.tls is not None:
            tls_for(address, self.tls.config)
        listeners, targets = await listen(where, backlog=self.settings.backlog)
        for listener in listeners:
            self._acceptor.start(tasks, listener)
        self._addresses += targets
        return targets

    async def serve(self, address: str, *, task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED) -> None:
        """Serve on ``address`` until the server is closed or has drained.

        With ``await task_group.start(server.serve, address)`` the start returns the targets that reach it.
        Cancellation only ends the waiting: what listens belongs to the server's block.
        """
        task_status.started(await self.listen(address))
        await self.wait_closed()

    async def serve_stream(self, transport: ByteStream) -> None:
        """Serve one connection over any byte stream until it ends. Never raises for what the client did.

        Cancellation closes the stream.
        """
        self._entered()
        began = anyio.current_time()
        secured = transport if self.tls is None else await self._secure(transport, self.tls)
        if secured is None:
            return
        if self._closed or self._draining:
            await secured.aclose()
            return
        connection = Connection(
            secured,
            client=False,
            settings=self._wire_settings,
            limits=self.settings.flood,
            upkeep=self._upkeep,
            began=began,
            chance=self._random.uniform(-1, 1),
            on_request=self._on_request,
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self.traffic.add(connection.wire.traffic)
            if connection.error is not None:
                _log.debug("%r: %s", connection, connection.error)
            self._notice()

    async def _secure(self, transport: ByteStream, credentials: Credentials) -> ByteStream | None:
        """Do the TLS handshake; None, with a line in the log, when it failed."""
        peer, limit = peer_of(transport), self.settings.patience.handshake
        try:
            with anyio.fail_after(limit):
                return await credentials.accept(transport)
        except ConnectError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"it was not done within {limit:g} s"
        _log.warning("the TLS handshake with %s failed: %s", peer, reason)
        return None

    async def drain(self, grace: float = 30.0) -> None:
        """Finish: accept nothing new, let open calls end, then close; after ``grace`` seconds end what is left.

        Clients are told in two steps (RFC 9113 §6.8), so no call that is on its way is lost. Cancellation leaves the
        server draining.
        """
        self._draining = True
        self._acceptor.stop()
        for connection in list(self._connections):
            connection.drain()
        with anyio.move_on_after(grace):
            await self._wait_idle()
        self.close()
        await self._wait_idle()

    def close(self) -> None:
        """End at once: open calls fail with UNAVAILABLE at the client, handlers are cancelled. Does not wait."""
        self._closed = True
        self._acceptor.stop()
        for connection in list(self._connections):
            connection.close("the server is shutting down")
        self._notice()

    async def wait_closed(self) -> None:
        """Wait until the server was closed or drained and every connection has ended."""
        while not self._closed or self._connections:
            await self._changed()

    def _entered(self) -> TaskGroup:
        if self._tasks is None:
            raise ConfigurationError("the server is not open: use it inside 'async with Server(...) as server'")
        return self._tasks

    async def _wait_idle(self) -> None:
        while self._connections:
            await self._changed()

    async def _changed(self) -> None:
        if self._idle is None:
            self._idle = anyio.Event()
        await self._idle.wait()

    def _notice(self) -> None:
        """Let those who wait for the end look again."""
        if self._idle is not None:
            self._idle.set()
            self._idle = None

    # --- connections -----------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[str, ...]:
        """The targets that reach what it listens on."""
        return tuple(self._addresses)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that have not ended."""
        return tuple(self._connections)

    def _on_request(self, stream: Stream) -> None:
        """Start the handler of a new request, or answer it; called by the reader, never blocks."""
        block = stream.headers
        assert block is not None
        assert self._workers is not None
        head: RequestHead | None = block.parsed
        if head is None:
            head = block.parsed = read_request(block, self._handlers, self.settings)
        if head.rejection is not None:
            self._reject(stream, head.rejection)
        else:
            self._workers.submit(ServerStream(self, stream, head))

    def _reject(self, stream: Stream, rejection: Rejection) -> None:
        template = self.headers if rejection.http_status == 200 else http_template(rejection.http_status)
        stream.connection.wire.traffic.refused += 1
        stream.send_trailers(template, status_fields(rejection.status, rejection.message))
        stream.release()

    # --- for the calls ---------------------------------------------------------------------------

    def encode_details(self, status: Status, message: str | None, details: Any) -> bytes | None:
        """Return status details as bytes; raises :class:`EncodeError` for what is neither bytes nor messages."""
        if details is None or (self._status_details_codec is None and isinstance(details, bytes)):
            return details
        if self._status_details_codec is None:
            from orbit_net.details import StatusDetailsCodec  # noqa: PLC0415 - few servers need its messages

            self._status_details_codec = StatusDetailsCodec()
        encoded: bytes = self._status_details_codec.encode(status, message, details)
        return encoded

    def __repr__(self) -> str:
        state = "closed" if self._closed else "draining" if self._draining else "open" if self._tasks else "new"
        where = ", ".join(self._addresses) or "no address"
        return f"<Server {state} on {where}, {len(self._connections)} connections, {self._workers!r}>"


def _collect(services: Collection[Any]) -> dict[str, Handler]:
    handlers: dict[str, Handler] = {}
    for service in services:
        mapping = getattr(service, "__mapping__", None)
        if mapping is None:
            raise ConfigurationError(f"{service!r} is not a service: it has no __mapping__")
        for path, handler in mapping().items():
            if path in handlers:
                raise ConfigurationError(f"two services answer {path}; the second is {service!r}")
            handlers[path] = handler
    return handlers
