"""The ``grpc-timeout`` header: a positive integer of at most 8 digits and a unit (PROTOCOL-HTTP2, "Requests")."""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["decode_timeout", "encode_timeout"]

_MAX: Final = 99_999_999
_UNIT_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch


def encode_timeout(seconds: float) -> bytes:
    """Return ``seconds`` (> 0) as the header value, rounded up, so that the server never gives up before the client.

    From 10 ms on, milliseconds are exact enough, and equal timeouts give equal header blocks, which are remembered.
    """
    if seconds >= _MAX * 3600:
        return b"%dH" % _MAX
    if seconds >= 0.01:
        for unit, scale in ((b"m", 1e3), (b"S", 1.0), (b"M", 1 / 60), (b"H", 1 / 3600)):
            number = math.ceil(seconds * scale - 1e-6)
            if number <= _MAX:
                return b"%d%s" % (number, unit)
    if seconds >= 1e-5:
        return b"%du" % math.ceil(seconds * 1e6)
    return b"%dn" % max(1, math.ceil(seconds * 1e9))


def decode_timeout(value: bytes) -> float:
    """Return the seconds of a header value; raises :class:`ValueError` when it is malformed."""
    match = _TIMEOUT(value)
    if match is None:
        raise ValueError(f"grpc-timeout {value[:32]!r} is not 1 to 8 digits and a unit of H, M, S, m, u, n")
    return int(match[1]) * _UNIT_SECONDS[match[2]]
