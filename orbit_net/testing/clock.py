"""Time that passes when a test says so, or at once when everybody waits for it."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["VirtualClock", "virtual_time"]


class VirtualClock:
    """A clock that stands still: call it for the time, in seconds.

    For everything that takes its time as ``now`` or ``clock``: the pure policies (keepalive, backoff, breakers), pools,
    registries.

    Example::

        clock = VirtualClock()
        tracker = Keepalive(10.0, 20.0, without_calls=True)
        clock.advance(10.0)
        assert tracker.act(clock(), last_read=0.0, calls=True) is KeepaliveAction.PING
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; return what it is then. Time does not go back: :class:`ConfigurationError`."""
        if seconds < 0:
            raise ConfigurationError(f"a clock cannot advance by {seconds!r} seconds")
        self.now += seconds
        return self.now

    def __repr__(self) -> str:
        return f"<VirtualClock at {self.now:g} s>"


@asynccontextmanager
async def virtual_time(*, patience: float = 0.0) -> AsyncIterator[None]:
    """Inside, a wait for time takes none: when every task waits, the clock jumps to the next deadline.

    It is for programs whose tasks wait for each other and for time, over memory streams: deadlines, backoffs, idle
    timeouts and keepalives of hours take microseconds, in their order. Sockets and threads need real time, of which
    ``patience`` seconds are given before each jump. Deadlines of scopes around the block pass as well.

    On asyncio, the running loop is changed: it must be one of the standard library, and its clock, which never goes
    back, stays ahead afterwards. On trio, the program has to be run with a clock that can jump, or
    :class:`ConfigurationError` says so::

        anyio.run(main, backend="trio", backend_options={"clock": trio.testing.MockClock(rate=1)})
    """
    token: Any = anyio.lowlevel.current_token()
    loop = getattr(token, "native_token", token)
    if hasattr(loop, "call_soon_threadsafe"):
        with _Jumping(loop, patience):
            yield
        return
    # trio runs, so somebody has imported it.
    clock = sys.modules["trio"].lowlevel.current_clock()
    if not hasattr(clock, "autojump_threshold"):
        raise ConfigurationError(
            f"trio's {type(clock).__name__} cannot jump: run it with backend_options="
            "{'clock': trio.testing.MockClock(rate=1)}"
        )
    before, clock.autojump_threshold = clock.autojump_threshold, patience
    try:
        yield
    finally:
        clock.autojump_threshold = before


class _Jumping:
    """Let the selector of an asyncio loop move the clock on, instead of waiting for a deadline."""

    def __init__(self, loop: Any, patience: float) -> None:
        selector = getattr(loop, "_selector", None)
        if selector is None:
            raise ConfigurationError(f"the clock of {type(loop).__name__} cannot jump: use a loop of asyncio itself")
        self._loop = loop
        self._selector = selector
        self._select = selector.select
        self._time = loop.time
        self._patience = patience
        self._ahead = 0.0

    def __enter__(self) -> None:
        self._loop.time = self._now
        self._selector.select = self._jump

    def __exit__(self, *_: object) -> None:
        self._selector.select = self._select

    def _now(self) -> float:
        now: float = self._time()
        return now + self._ahead

    def _jump(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return self._select(timeout)
        began = self._time()
        ready = self._select(min(timeout, self._patience))
        if not ready:
            self._ahead += max(0.0, timeout - (self._time() - began))
        return ready
