"""Keeps secrets out of logs and errors, also of the packages beneath us."""

from __future__ import annotations

import logging

__all__ = ["quiet_hpack", "without_credentials"]


def quiet_hpack() -> None:
    """Keep hpack from logging headers, unless the user has given its logger a level.

    At DEBUG it writes each one with its value, tokens included, and a root logger at DEBUG is common.
    """
    log = logging.getLogger("hpack")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)


def without_credentials(url: str) -> str:
    """Return a URL with ``***`` in the place of the user and the password, if it can have any."""
    before, at, host = url.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return f"{scheme + separator if separator else ''}***@{host}" if at else url
