"""Whose cancellation it is.

A user's code in a task of ours may let a cancellation escape that nobody asked of the task: asyncio raises
``CancelledError`` also for awaiting another task that was cancelled. A task group takes it for the end of the whole
group, so one careless handler would stop its server.
"""

from __future__ import annotations

import anyio

__all__ = ["is_cancelled"]


def is_cancelled() -> bool:
    """Whether this task is really being cancelled, by a scope that encloses this line."""
    return anyio.current_effective_deadline() == float("-inf")
