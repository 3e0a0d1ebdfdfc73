"""Deadlines that must fire while something is under way, on a machine that may be too busy to begin it in time."""

from __future__ import annotations

__all__ = ["until_begun"]


async def until_begun(call, begun, *, first=0.05):
    """Await ``call(timeout)``, which asserts that its deadline fires, until what it is to fire in had begun by then.

    ``begun`` tells so; each further try has twice the time. The test's own timeout bounds the row.
    """
    timeout = first
    await call(timeout)
    while not begun():
        timeout *= 2
        await call(timeout)
