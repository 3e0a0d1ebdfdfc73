"""Keeps secrets out of the logs of the packages beneath us."""

from __future__ import annotations

import logging

__all__ = ["quiet_hpack"]


def quiet_hpack() -> None:
    """Keep hpack from logging headers, unless the user has given its logger a level.

    At DEBUG it writes each one with its value, tokens included, and a root logger at DEBUG is common.
    """
    log = logging.getLogger("hpack")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
