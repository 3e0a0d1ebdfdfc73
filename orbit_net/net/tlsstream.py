"""TLS over any byte stream, by the standard library's engine.

anyio's own TLS stream drops the alert that says why a handshake failed, writes from the reading side, and hides the
first bytes of a peer that does not speak TLS. So this is the same engine with a pump of ours: the reader only reads,
the writer only writes.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute

from orbit_net.errors import ConnectError
from orbit_net.net.tlserrors import explain
from orbit_net.wire.handshake import describe_plain_client, describe_plain_server, is_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TlsStream"]

_CHUNK: Final = 65_536
_LINGER: Final = 1.0
"""Seconds in which a peer that is turned away may read why; a socket that is closed at once is reset."""
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x0a"
"""A fatal alert, unexpected_message, in the clear: tells a plain-text client that this is TLS."""


class TlsStream(ByteStream):
    """A byte stream that is encrypted; :meth:`handshake` comes first.

    One task may receive while another sends. A peer that closes without a closing alert has closed all the same: what
    HTTP/2 carries tells by itself whether it is complete. What the reading side provokes (an answer to a KeyUpdate)
    leaves with the next bytes that are sent, as RFC 8446 §4.6.3 allows.
    """

    def __init__(
        self, transport: ByteStream, context: ssl.SSLContext, *, host: str | None, has_certificate: bool = True
    ) -> None:
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._server = host is None
        self._host = host
        self._has_certificate = has_certificate
        self._closing = False
        self._heard = False
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=self._server, server_hostname=host)

    # --- the handshake ---------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Agree with the peer; raises :class:`ConnectError` that says which check failed, the transport closed then.

        Cancellation closes the transport too.
        """
        try:
            await self._handshake()
        except BaseException:
            await anyio.aclose_forcefully(self._transport)
            raise

    async def _handshake(self) -> None:
        try:
            await self._agree()
        except ssl.SSLError as error:
            await self._turn_away(self._outgoing.read())
            raise ConnectError(self._explain(error)) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise ConnectError(
                f"the connection broke during the TLS handshake: {str(error) or type(error).__name__}"
            ) from error
        if self._ssl.selected_alpn_protocol() != "h2":
            peer = "client" if self._server else "server"
            await self._turn_away(self._close_alert())
            raise ConnectError(f"the {peer} does not speak HTTP/2 on this port: it did not agree to ALPN h2")

    async def _agree(self) -> None:
        begun = False
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                await self._flush()
                return
            await self._flush()
            try:
                data = await self._transport.receive(_CHUNK)
            except anyio.EndOfStream:
                self._incoming.write_eof()
                continue
            if not begun and not is_tls(data):
                await self._turn_away(_ALERT if self._server else b"")
                raise ConnectError(describe_plain_client(data) if self._server else describe_plain_server(data))
            begun = True
            self._incoming.write(data)

    async def _turn_away(self, last_words: bytes) -> None:
        """Say why, and give the peer time to read it."""
        with anyio.move_on_after(_LINGER):
            try:
                if last_words:
                    await self._transport.send(last_words)
                await self._transport.send_eof()
                while self._server:
                    await self._transport.receive(_CHUNK)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return

    def _explain(self, error: ssl.SSLError) -> str:
        return explain(error, server=self._server, host=self._host, has_certificate=self._has_certificate)

    # --- the stream ------------------------------------------------------------------------------

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return what was decrypted; raises :class:`anyio.EndOfStream` at the end.

        Raises :class:`anyio.BrokenResourceError` with the reason when the peer ends TLS: in TLS 1.3 a server that does
        not accept the client's certificate says so only here.
        """
        while True:
            if not self._closing:
                try:
                    data = self._ssl.read(max_bytes)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLEOFError:
                    self._end()
                except ssl.SSLError as error:
                    raise anyio.BrokenResourceError(self._explain(error)) from error
                else:
                    if not data:
                        self._end()
                    self._heard = True
                    return data
            try:
                data = await self._transport.receive(_CHUNK)
            except anyio.EndOfStream:
                self._incoming.write_eof()
                if self._closing:
                    raise
            else:
                if not self._closing:
                    self._incoming.write(data)

    def _end(self) -> NoReturn:
        if self._heard or self._server:
            raise anyio.EndOfStream
        # grpcio's servers refuse a client's certificate without an alert.
        guess = "have refused our certificate" if self._has_certificate else "require a client certificate"
        raise anyio.BrokenResourceError(f"the server closed the connection after the TLS handshake; it may {guess}")

    async def send(self, item: bytes) -> None:
        """Encrypt and send; only one task may, and a cancelled one leaves the stream unusable."""
        try:
            self._ssl.write(item)  # all of it: a memory BIO has no end
        except ssl.SSLError as error:
            raise anyio.BrokenResourceError(self._explain(error)) from error
        await self._transport.send(self._outgoing.read())

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._transport.send(self._outgoing.read())

    def _close_alert(self) -> bytes:
        self._closing = True
        with suppress(ssl.SSLError):  # it wants the peer's closing alert too, for which nobody waits
            self._ssl.unwrap()
        return self._outgoing.read()

    async def send_eof(self) -> None:
        """Send the closing alert and close our direction; what still comes in is read and dropped."""
        alert = self._close_alert()
        if alert:
            await self._transport.send(alert)
        await self._transport.send_eof()

    async def aclose(self) -> None:
        """Close the transport; :meth:`send_eof` before it is the polite way."""
        self._closing = True
        await self._transport.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the transport, and anyio's for TLS."""
        engine = self._ssl
        return {
            **self._transport.extra_attributes,
            TLSAttribute.alpn_protocol: engine.selected_alpn_protocol,
            TLSAttribute.cipher: engine.cipher,
            TLSAttribute.peer_certificate: lambda: engine.getpeercert(False),
            TLSAttribute.peer_certificate_binary: lambda: engine.getpeercert(True),
            TLSAttribute.server_side: lambda: self._server,
            TLSAttribute.standard_compatible: lambda: False,
            TLSAttribute.ssl_object: lambda: engine,
            TLSAttribute.tls_version: engine.version,
        }
