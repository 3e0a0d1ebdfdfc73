"""Whether a history of one register is linearizable (Wing and Gong's search, with Lowe's memory of dead ends)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Operation", "is_linearizable"]


@dataclass
class Operation:
    """``kind`` is read, write or cas; a cas has ``(expected, new)`` as argument, and whether it wrote as result.

    ``returned`` is None while nobody knows how it ended: it may take effect at any time after ``called``, or never.
    """

    kind: str
    argument: Any
    result: Any
    called: float
    returned: float | None


def _after(state, operation):
    """Return (possible, the register afterwards)."""
    known = operation.returned is not None
    if operation.kind == "write":
        return True, operation.argument
    if operation.kind == "read":
        return operation.result == state, state
    expected, new = operation.argument
    succeeds = state == expected
    return not known or operation.result == succeeds, new if succeeds else state


def is_linearizable(operations, initial=None):
    """Whether some order explains every result, and puts each operation between its call and its return."""
    # A read without an answer explains nothing.
    operations = sorted((o for o in operations if o.kind != "read" or o.returned is not None), key=lambda o: o.called)
    returns = [float("inf") if o.returned is None else o.returned for o in operations]
    everything = sum(1 << i for i, o in enumerate(operations) if o.returned is not None)
    seen = set()
    stack = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done & everything == everything:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        pending = [i for i in range(len(operations)) if not done >> i & 1]
        horizon = min(returns[i] for i in pending)
        # What begins after something returned has to wait for it, as have all that begin later.
        ready = [i for i in pending if operations[i].called <= horizon]
        steps = [(i, after) for i in ready for possible, after in [_after(state, operations[i])] if possible]
        idle = [i for i, after in steps if after == state and operations[i].returned is not None]
        if idle:  # what changes nothing can go first: whatever comes later comes as well after it
            stack.append((done | 1 << idle[0], state))
            continue
        # The one that returned first is tried first.
        stack += [(done | 1 << i, after) for i, after in sorted(steps, key=lambda step: -returns[step[0]])]
    return False
