"""The certificates that a channel or a server uses now, and those that it will use next."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread

from orbit_net.errors import ConfigurationError, ConnectError
from orbit_net.net.tlscontext import build_context, signature
from orbit_net.net.tlsstream import TlsStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from orbit_net.net.tls import TlsConfig

__all__ = ["Credentials"]

_log = logging.getLogger("orbit_net.net")


class Credentials:
    """One side's :class:`TlsConfig`, its files read; makes TLS streams.

    A change of the files makes a new :class:`ssl.SSLContext`, which takes the place of the old one at once or not at
    all: a handshake uses one or the other, never a mixture. Raises :class:`ConfigurationError` for files that are not
    usable now.
    """

    def __init__(self, config: TlsConfig, *, server: bool) -> None:
        self.config = config
        self._server = server
        self._signature = signature(config)  # before the files are read: a change while they are is seen by the watch
        self._context = build_context(config, server=server)

    @classmethod
    def for_client(cls, config: TlsConfig) -> Self:
        """Return what a channel presents and trusts."""
        return cls(config, server=False)

    def reload(self) -> None:
        """Read the files now; handshakes from now on use them. Blocks for the time of reading them.

        Raises :class:`ConfigurationError` for a pair that is not usable; then the old one stays.
        """
        seen = signature(self.config)
        self._context = build_context(self.config, server=self._server)
        self._signature = seen

    async def watch(self) -> None:
        """Look at the files every ``poll_interval`` seconds, until cancelled; return at once if there is nothing to do.

        What is broken or half written is left out, with a warning for each change of the files, and tried again.
        """
        interval, complained = self.config.poll_interval, None
        if interval is None or not self.config.files:
            return
        while True:
            await anyio.sleep(interval)
            seen = await anyio.to_thread.run_sync(signature, self.config, abandon_on_cancel=True)
            if seen == self._signature:
                continue
            try:
                context = await anyio.to_thread.run_sync(self._build, abandon_on_cancel=True)
            except ConfigurationError as error:
                if seen != complained:
                    complained = seen
                    _log.warning("the new certificates are not used: %s", error)
            else:
                self._context, self._signature = context, seen
                _log.info("new handshakes use the certificates that were changed: %r", self.config)

    def _build(self) -> ssl.SSLContext:
        return build_context(self.config, server=self._server)

    async def accept(self, transport: ByteStream) -> TlsStream:
        """Do the server's part of a handshake; raises :class:`ConnectError` that says which check failed.

        Cancellation, as a failure, closes the transport.
        """
        stream = TlsStream(transport, self._context, host=None)
        await stream.handshake()
        return stream

    async def connect(self, connector: Callable[[], Awaitable[ByteStream]], host: str, target: str) -> TlsStream:
        """Open a stream and do the client's part of a handshake with ``host``; raises as :meth:`accept` does.

        ``target`` is what the text of the error calls the server.
        """
        transport = await connector()
        stream = TlsStream(
            transport,
            self._context,
            host=self.config.server_name or host,
            has_certificate=self.config.certificate is not None,
        )
        try:
            await stream.handshake()
        except ConnectError as error:
            raise ConnectError(f"no TLS connection to {target}: {error}") from error.__cause__
        return stream
