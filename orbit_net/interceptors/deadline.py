"""A deadline for calls that come without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from grpclib.metadata import Deadline

from orbit_net.errors import ConfigurationError
from orbit_net.interceptor import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["DefaultDeadline"]

AnyCall = TypeVar("AnyCall", bound=Call)


class DefaultDeadline:
    """Gives each call ``timeout`` seconds, unless it has a deadline; for channels and for servers.

    ``methods`` says otherwise for some paths (``/package.Service/Method``): other seconds, or None for no deadline,
    which long-lived streams need. On a server it bounds the handlers of clients that set no deadline.
    """

    def __init__(self, timeout: float | None, *, methods: Mapping[str, float | None] | None = None) -> None:
        self._timeout = timeout
        self._methods = dict(methods or {})
        for seconds in (timeout, *self._methods.values()):
            if seconds is not None and not seconds > 0:
                raise ConfigurationError(f"a default deadline is {seconds!r}; it must be above 0 seconds, or None")

    async def __call__(self, call: AnyCall, proceed: Callable[[AnyCall], Awaitable[None]], /) -> None:
        """Set the deadline before the call goes on."""
        if call.deadline is None:
            timeout = self._methods.get(call.method, self._timeout)
            if timeout is not None:
                call.deadline = Deadline.from_timeout(timeout)
        await proceed(call)

    def __repr__(self) -> str:
        return f"<DefaultDeadline {self._timeout} s, {len(self._methods)} methods of their own>"
