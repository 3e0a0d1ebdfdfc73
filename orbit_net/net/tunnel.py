"""A connection through an HTTP proxy: the CONNECT request, its answer, and not a byte more.

Source: RFC 9110 §9.3.6, RFC 9112 §4.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from orbit_net.errors import ConnectError
from orbit_net.net.proxy import choose_proxy
from orbit_net.net.socket import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orbit_net.net.address import TcpAddress
    from orbit_net.net.proxy import Proxy

__all__ = ["connect_through", "proxy_for", "tunnel_for"]

_LONGEST: Final = 16_384
"""Bytes that the answer of a proxy may have, up to the end of its headers."""
_CHUNK: Final = 4_096
_SHOWN: Final = 120
_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r?\n")
_BEGINNING: Final = b"HTTP/1."


def proxy_for(target: str, proxy: str | None) -> bool:
    """Whether a proxy leads to ``target``; raises :class:`ConfigurationError` as :func:`tunnel_for` does."""
    return choose_proxy(proxy, target, os.environ) is not None


def tunnel_for(
    target: str, proxy: str | None, *, timeout: float, tcp_keepalive: float | None = None
) -> Callable[[], Awaitable[ByteStream]] | None:
    """Return what opens a stream to ``target`` through the proxy that ``proxy`` leads to; None to connect directly.

    See :func:`~orbit_net.net.proxy.choose_proxy`. Of the ``timeout`` for an attempt a proxy has the half, so that an
    error that names the proxy comes before one that does not.
    """
    chosen = choose_proxy(proxy, target, os.environ)
    if chosen is None:
        return None
    return partial(connect_through, *chosen, timeout=timeout / 2, tcp_keepalive=tcp_keepalive)


async def connect_through(
    proxy: Proxy, address: TcpAddress, *, timeout: float, tcp_keepalive: float | None = None
) -> ByteStream:
    """Open a stream to ``address``, whose name the proxy looks up, through a tunnel of ``proxy``.

    The proxy must have answered within ``timeout`` seconds. Raises :class:`ConnectError`, which says which proxy it was
    and what it answered. Cancellation closes what was opened.
    """
    stream: ByteStream | None = None
    try:
        with anyio.fail_after(timeout):
            stream = await connect(proxy.address, tcp_keepalive=tcp_keepalive)
            rest = await _open(stream, proxy, address)
    except BaseException as error:
        if stream is not None:
            await anyio.aclose_forcefully(stream)
        reason = _reason(error, timeout)
        if reason is None:
            raise
        raise ConnectError(f"no way to {address} through the proxy {proxy}: {reason}") from error.__cause__
    return _Begun(stream, rest) if rest else stream


class _Refusal(Exception):
    """The proxy gave no tunnel."""


def _reason(error: BaseException, timeout: float) -> str | None:
    match error:
        case _Refusal() | ConnectError():
            return str(error)
        case TimeoutError():
            return f"it did not answer within {timeout:g} s"
        case anyio.EndOfStream() | anyio.BrokenResourceError() | anyio.ClosedResourceError() | OSError():
            return "it closed the connection instead of answering"
    return None


async def _open(stream: ByteStream, proxy: Proxy, address: TcpAddress) -> bytes:
    """Ask for the tunnel, and return what was read beyond the answer: that is the stream's."""
    await stream.send(_request(proxy, address))
    answer = b""
    while True:
        end = _END.search(answer)
        if end is None:
            if not _begins_well(answer):
                raise _Refusal(f"it does not speak HTTP: it said {_text(answer)}")
            if len(answer) > _LONGEST:
                raise _Refusal(f"its answer has more than {_LONGEST} bytes of headers")
            answer += await stream.receive(_CHUNK)
            continue
        status = _STATUS.match(answer)
        if status is None:
            raise _Refusal(f"it does not speak HTTP: it said {_text(answer)}")
        if status[1].startswith(b"2"):
            return answer[end.end() :]
        if not status[1].startswith(b"1"):
            raise _Refusal(f"it answered {_text(answer)}{_advice(status[1], proxy)}")
        answer = answer[end.end() :]  # an interim response, RFC 9110 §15.2


def _request(proxy: Proxy, address: TcpAddress) -> bytes:
    lines = [f"CONNECT {address.authority} HTTP/1.1", f"Host: {address.authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


def _begins_well(answer: bytes) -> bool:
    return answer.startswith(_BEGINNING) or _BEGINNING.startswith(answer)


def _text(answer: bytes) -> str:
    """Return the first line for an error, whatever is in it."""
    line = answer.split(b"\n", 1)[0].rstrip(b"\r")
    return repr(line[:_SHOWN].decode("latin-1")) + ("…" if len(line) > _SHOWN else "")


def _advice(status: bytes, proxy: Proxy) -> str:
    if status != b"407":
        return ""
    return ": it does not accept the credentials" if proxy.authorization else ": it wants credentials in its URL"


class _Begun(ByteStream):
    """A stream of which the first bytes were read already."""

    def __init__(self, stream: ByteStream, early: bytes) -> None:
        self._stream = stream
        self._early = early

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._early:
            return await self._stream.receive(max_bytes)
        await anyio.lowlevel.checkpoint()
        data, self._early = self._early[:max_bytes], self._early[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes
