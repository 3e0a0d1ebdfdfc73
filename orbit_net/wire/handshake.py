"""The first bytes of a connection, and what a wrong beginning says about the peer (RFC 9113 §3.4)."""

from __future__ import annotations

from typing import Final

from orbit_net.wire.frames import PREFACE, SETTINGS

__all__ = [
    "TELLING",
    "describe_client",
    "describe_cut_client",
    "describe_cut_server",
    "describe_server",
    "is_settings",
]

TELLING: Final = 4
"""So many bytes tell what a client speaks that does not speak HTTP/2."""

_HTTP1: Final = (b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")


def is_settings(data: bytes) -> bool:
    """Whether ``data`` (at least 9 bytes) begins with a SETTINGS frame that is no acknowledgement."""
    return data[3] == SETTINGS and not data[4] & 1 and not any(data[5:9])


def describe_server(data: bytes) -> str:
    """Say what a server speaks that did not begin with SETTINGS."""
    if data[:1] in (b"\x15", b"\x16") and data[1:2] == b"\x03":
        return "the server speaks TLS on this port, and this channel is plain text"
    if data.startswith(b"HTTP/"):
        line = data.partition(b"\r\n")[0][:64].decode("latin-1")
        return f"the server speaks HTTP/1, not HTTP/2: it answered {line!r}"
    return f"the server does not speak HTTP/2: its first bytes are {data[:16]!r}"


def describe_client(data: bytes) -> str:
    """Say what a client speaks that did not begin with the preface."""
    if data[:1] == b"\x16" and data[1:2] == b"\x03":
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
