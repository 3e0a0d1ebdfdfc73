"""Subchannels by what they connect to, so that there is one for each address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import anyio

from orbit_net.errors import ConfigurationError
from orbit_net.net import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from orbit_net.client.subchannel import Subchannel
    from orbit_net.net import TlsConfig

__all__ = ["SubchannelPool"]

_CLOSE_GRACE = 2.0


class SubchannelPool:
    """Lets channels of equal settings share their connections.

    Channels that are given the same pool, and connect to the same address with the same settings, certificates and
    keepalive, use one connection. A channel that is closed gives back what it used: its calls go on to their end, and a
    connection that no channel uses any more is closed after its last call. Use it by ``async with``, around the
    channels.

    Example::

        async with SubchannelPool() as shared, Channel(target, subchannels=shared) as first: ...
    """

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Subchannel] = {}
        self._users: dict[Hashable, int] = {}
        self._retired: set[Subchannel] = set()
        self._credentials: dict[TlsConfig, Credentials] = {}
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a pool of subchannels can be entered once; make a new one")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self.close()
        try:
            with anyio.move_on_after(_CLOSE_GRACE):
                await self.wait_idle()
        finally:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)

    def attach(self, tasks: TaskGroup) -> None:
        """Use the task group of an owner instead of ``async with``."""
        self._tasks = tasks

    @property
    def subchannels(self) -> tuple[Subchannel, ...]:
        """All that are in use."""
        return tuple(self._by_key.values())

    def credentials(self, tls: TlsConfig) -> Credentials:
        """Return the certificates of ``tls``, the same every time: each channel that uses them watches the files."""
        found = self._credentials.get(tls)
        if found is None:
            found = self._credentials[tls] = Credentials.for_client(tls)
        return found

    def take(self, key: Hashable, make: Callable[[], Subchannel], observer: Callable[[Subchannel], None]) -> Subchannel:
        """Return the subchannel of ``key``, made by ``make`` if it is the first; ``observer`` is told of its states."""
        if self._tasks is None:
            raise ConfigurationError("the pool of subchannels is not open: use it inside 'async with'")
        subchannel = self._by_key.get(key)
        if subchannel is None:
            subchannel = self._by_key[key] = make()
            subchannel.start(self._tasks)
        subchannel.observers = (*subchannel.observers, observer)
        self._users[key] = self._users.get(key, 0) + 1
        return subchannel

    def give_back(self, key: Hashable, observer: Callable[[Subchannel], None]) -> None:
        """Say that a user does not need the subchannel of ``key``; without any it takes no more calls and ends."""
        subchannel = self._by_key[key]
        subchannel.observers = tuple(one for one in subchannel.observers if one != observer)
        self._users[key] -= 1
        if not self._users[key]:
            del self._by_key[key], self._users[key]
            self._retired = {one for one in self._retired if one.lives}
            self._retired.add(subchannel)
            subchannel.retire()

    def close(self) -> None:
        """End all connections, and fail the calls on them."""
        for subchannel in (*self._by_key.values(), *self._retired):
            subchannel.close()

    async def wait_idle(self) -> None:
        """Wait until no connection is open or ending."""
        for subchannel in (*self._by_key.values(), *self._retired):
            await subchannel.wait_idle()

    def __repr__(self) -> str:
        return f"<SubchannelPool of {len(self._by_key)}>"
