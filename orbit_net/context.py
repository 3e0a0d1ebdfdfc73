"""What a call inherits from the handler that makes it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["detached", "inherited_deadline"]

inherited_deadline: Final[ContextVar[float | None]] = ContextVar("orbit_net_deadline", default=None)
"""The deadline of the call being handled, in the event loop's time (``anyio.current_time()``), or None."""


@contextmanager
def detached() -> Iterator[None]:
    """Make calls in this block without the deadline of the call being handled.

    For work that must go on after the answer, such as an audit record. Cancellation is inherited by being in the same
    task: start a task of your own outside the handler for what must survive it.
    """
    token = inherited_deadline.set(None)
    try:
        yield
    finally:
        inherited_deadline.reset(token)
