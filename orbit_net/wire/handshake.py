"""The first bytes of a connection, and what a wrong beginning says about the peer (RFC 9113 §3.4)."""

from __future__ import annotations

from typing import Final

from orbit_net.wire.frames import FRAME_HEADER_SIZE, PREFACE, SETTINGS

__all__ = [
    "TELLING",
    "describe_client",
    "describe_cut_client",
    "describe_cut_server",
    "describe_plain_client",
    "describe_plain_server",
    "describe_server",
    "is_settings",
    "is_tls",
]

TELLING: Final = 4
"""So many bytes tell what a client speaks that does not speak HTTP/2."""

_HTTP1: Final = (b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")


def is_settings(data: bytes) -> bool:
    """Whether ``data`` (at least 9 bytes) begins with a SETTINGS frame that is no acknowledgement."""
    return data[3] == SETTINGS and not data[4] & 1 and not any(data[5:9])


def is_tls(data: bytes) -> bool:
    """Whether ``data`` begins as a handshake or an alert of TLS does, as far as it goes (RFC 8446 §5.1)."""
    return data[:1] in (b"\x15", b"\x16") and data[1:2] in (b"", b"\x03")


def describe_plain_client(data: bytes) -> str:
    """Say what a client speaks that did not begin a handshake of TLS."""
    if data[:TELLING] == PREFACE[: len(data[:TELLING])]:
        return "the client speaks HTTP/2 in plain text, and this port expects TLS"
    if data.startswith(_HTTP1):
        return "the client speaks HTTP/1 in plain text, and this port expects TLS"
    return f"the client does not speak TLS: its first bytes are {data[:16]!r}"


def describe_plain_server(data: bytes) -> str:
    """Say what a server speaks that did not answer a handshake of TLS."""
    if len(data) >= FRAME_HEADER_SIZE and is_settings(data):
        return "the server speaks HTTP/2 in plain text on this port, and this channel expects TLS"
    if data.startswith(b"HTTP/"):
        return f"the server speaks HTTP/1 in plain text, and this channel expects TLS: {_first_line(data)}"
    return f"the server does not speak TLS on this port: its first bytes are {data[:16]!r}"


def _first_line(data: bytes) -> str:
    line = data.partition(b"\r\n")[0][:64].decode("latin-1")
    return f"it answered {line!r}"


def describe_server(data: bytes) -> str:
    """Say what a server speaks that did not begin with SETTINGS."""
    if is_tls(data):
        return "the server speaks TLS on this port, and this channel is plain text"
    if data.startswith(b"HTTP/"):
        return f"the server speaks HTTP/1, not HTTP/2: {_first_line(data)}"
    return f"the server does not speak HTTP/2: its first bytes are {data[:16]!r}"


def describe_client(data: bytes) -> str:
    """Say what a client speaks that did not begin with the preface."""
    if is_tls(data):
        return "the client speaks TLS, and this port is plain text"
    if data.startswith(_HTTP1):
        return "the client speaks HTTP/1, not HTTP/2 with prior knowledge"
    return f"the client does not speak HTTP/2: its first bytes are {data[:16]!r}, not {PREFACE[:16]!r}"


def describe_cut_client(data: bytes) -> str:
    """Say what a client speaks that went away after ``data``, before its first frame header was complete."""
    if PREFACE.startswith(data[: len(PREFACE)]):
        return "the connection ended before the client's SETTINGS"
    return describe_client(data)


def describe_cut_server(data: bytes) -> str:
    """Say what a server speaks that went away after ``data``, before its first frame header was complete."""
    if not data[0] and data[3:4] in (b"", bytes((SETTINGS,))) and not any(data[5:]):
        return "the connection ended before the server's SETTINGS"
    return describe_server(data)
