"""Interceptors: functions around calls, of one shape on both sides and for all four kinds of call.

    async def interceptor(call, next):
        ...                 # look at the call, change it, or refuse it by raising
        await next(call)    # exactly once; what the rest of the chain raises comes out here
        ...

They are given to :class:`~orbit_net.client.Channel` and :class:`~orbit_net.server.Server` in a list, the first one
outermost, and are put together once, by :func:`compose`.

On a server, ``next`` runs the handler: it returns when the handler has returned, and raises what the handler raised;
``call`` is the :class:`~orbit_net.server.ServerStream`. A :class:`grpclib.GRPCError` that leaves the chain becomes the
status of the call.

On a client, ``next`` *opens* the call: it returns when the request headers are queued, and raises when there is no
connection; ``call`` is an :class:`~orbit_net.client.OutgoingCall`. The chain runs inside the one operation of the user
that opens the call, and is over before that returns. It does not surround the rest of the call, because the rest
happens in further operations of the user, between which no cancel scope may be held (PEP 789).

What happens inside ``next``, or after it, is seen by hooks of the call, which cost nothing where there are none:
``on_send`` and ``on_receive`` see each message and may replace it, ``on_end`` is told the status, once. Messages that
are sent pass the hooks in the order of registration, received ones and the end in reverse: the first is outermost.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from grpclib.const import Status
    from grpclib.metadata import Deadline

    from orbit_net.wire.metadata import Metadata

    MessageHook = Callable[[Any], Awaitable[Any]]
    EndHook = Callable[[Status, str | None], None]

__all__ = ["Call", "Hooked", "Hooks", "Interceptor", "compose"]

_log: Final = logging.getLogger("orbit_net.interceptor")

CallType = TypeVar("CallType")


class Call(Protocol):
    """What an interceptor for both sides can rely on."""

    @property
    def method(self) -> str:
        """The path of the method: ``/package.Service/Method``."""

    @property
    def metadata(self) -> Metadata:
        """The metadata of the request; may be changed before ``next``."""

    @property
    def deadline(self) -> Deadline | None:
        """When the call ends at the latest; may be set before ``next``."""

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None: ...

    def on_send(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is sent, and send what it returns."""

    def on_receive(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is received, and give what it returns to the application."""

    def on_end(self, hook: EndHook) -> None:
        """Call ``hook(status, text)`` once, when the call is over and has been let go. It must not block."""


class Interceptor(Protocol[CallType]):
    """See :mod:`orbit_net.interceptor`. Any function or object of this shape will do."""

    def __call__(self, call: CallType, next: Callable[[CallType], Awaitable[None]], /) -> Awaitable[None]:  # noqa: A002
        """Do something around ``next(call)``."""


class _Link(Generic[CallType]):
    __slots__ = ("_interceptor", "_next")

    def __init__(self, interceptor: Interceptor[CallType], following: Callable[[CallType], Awaitable[None]]) -> None:
        self._interceptor = interceptor
        self._next = following

    def __call__(self, call: CallType) -> Awaitable[None]:
        return self._interceptor(call, self._next)


def compose(
    interceptors: Sequence[Interceptor[CallType]], last: Callable[[CallType], Awaitable[None]]
) -> Callable[[CallType], Awaitable[None]] | None:
    """Return one function that goes through ``interceptors`` in their order and ends in ``last``; None without any.

    Raises :class:`ConfigurationError` for one that cannot be called.
    """
    chain = last
    for interceptor in reversed(interceptors):
        if not callable(interceptor):
            raise ConfigurationError(f"{interceptor!r} is no interceptor: it must be called with (call, next)")
        chain = _Link(interceptor, chain)
    return chain if interceptors else None


class Hooks:
    """What the interceptors of one call want to be told."""

    __slots__ = ("_ended", "ending", "receiving", "sending")

    def __init__(self) -> None:
        self.sending: list[MessageHook] = []
        self.receiving: list[MessageHook] = []
        self.ending: list[EndHook] = []
        self._ended = False

    async def sent(self, message: Any) -> Any:
        """Return what is to be sent in place of ``message``."""
        for hook in self.sending:
            message = await hook(message)
        return message

    async def received(self, message: Any) -> Any:
        """Return what is to be received in place of ``message``."""
        for hook in reversed(self.receiving):
            message = await hook(message)
        return message

    def ended(self, status: Status, text: str | None) -> None:
        """Tell the end, once. A hook that fails is logged: the call is over, and nobody is left to be told."""
        if self._ended:
            return
        self._ended = True
        for hook in reversed(self.ending):
            try:
                hook(status, text)
            except Exception:  # noqa: BLE001 - the reason is above
                _log.error("an on_end hook failed", exc_info=True)


class Hooked:
    """A call that can have hooks; ``_hooks`` is None until the first."""

    def __init__(self) -> None:
        self._hooks: Hooks | None = None

    def _hooked(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks()
        return self._hooks

    def on_send(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is sent, and send what it returns."""
        self._hooked().sending.append(hook)

    def on_receive(self, hook: MessageHook) -> None:
        """Call ``hook(message)`` with each message that is received, and give what it returns to the application."""
        self._hooked().receiving.append(hook)

    def on_end(self, hook: EndHook) -> None:
        """Call ``hook(status, text)`` once, when the call is over and has been let go. It must not block."""
        self._hooked().ending.append(hook)
