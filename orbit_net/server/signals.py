"""Ends a server gracefully when the process is told to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from orbit_net.server.server import Server

__all__ = ["stop_on_signals"]


async def stop_on_signals(
    server: Server, *, grace: float = 30.0, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
) -> None:
    """Wait for one of ``signals``, then drain ``server`` for at most ``grace`` seconds. Run it in the main thread.

    Example::

        async with Server([Greeter()]) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(stop_on_signals, server)
            await server.serve("127.0.0.1:50051")
            tasks.cancel_scope.cancel()
    """
    with anyio.open_signal_receiver(*signals) as received:
        async for _ in received:
            await server.drain(grace)
            return
