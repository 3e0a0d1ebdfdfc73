"""One line in the log for each call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import anyio
from grpclib.const import Status

from orbit_net.interceptor import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["CallLogging"]

AnyCall = TypeVar("AnyCall", bound=Call)


class CallLogging:
    """Logs method, status and duration of each call when it is over; for channels and for servers.

    ``level`` is for calls that ended with OK, ``failure_level`` for the others, whose text is logged too, as a quoted
    string: it may come from the peer. Messages and metadata are never logged. A line goes to ``logger``, by default
    ``orbit_net.calls``.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = logging.INFO,
        failure_level: int = logging.WARNING,
    ) -> None:
        self._logger = logger or logging.getLogger("orbit_net.calls")
        self._level = level
        self._failure_level = failure_level

    async def __call__(self, call: AnyCall, proceed: Callable[[AnyCall], Awaitable[None]], /) -> None:
        """Note the beginning, and leave the line to the end."""
        begun = anyio.current_time()
        method = call.method

        def log(status: Status, text: str | None) -> None:
            took = 1_000 * (anyio.current_time() - begun)
            if status is Status.OK:
                self._logger.log(self._level, "%s OK in %.1f ms", method, took)
            else:
                self._logger.log(self._failure_level, "%s %s in %.1f ms: %r", method, status.name, took, text or "")

        call.on_end(log)
        await proceed(call)

    def __repr__(self) -> str:
        return f"<CallLogging to {self._logger.name!r}>"
