"""Waiting for a condition by giving the scheduler turns, and the condition that nothing was leaked."""

import anyio
from anyio.lowlevel import checkpoint


async def until(condition, *, seconds=10.0):
    """Give other tasks turns until ``condition()`` holds.

    What does not come by turns alone waits for a timer or another process, which should have the processor.
    """
    with anyio.fail_after(seconds):
        for _ in range(500):
            if condition():
                return
            await checkpoint()
        while not condition():
            await anyio.sleep(0.001)


async def turns(number):
    """Give other tasks ``number`` turns: enough for whatever would happen to have happened."""
    for _ in range(number):
        await checkpoint()


def connections_of(owner):
    """Return the net connections of a channel or a server."""
    return list(getattr(owner, "subchannel", owner)._connections)


def leaks(owner):
    """Return a description of everything that an idle channel or server still holds."""
    found = []
    for connection in connections_of(owner):
        wire = connection.wire
        window = wire.window
        if connection._streams or wire.streams or wire.open_streams:
            found.append(f"streams {sorted({*connection._streams, *wire.streams})}, {wire.open_streams} counted")
        if window.available + window.owed != window.size + window.lent:
            found.append(f"window {window.available} + {window.owed} != {window.size} + {window.lent}")
        if wire.outbox.data_size or wire.outbox._ready or wire.outbox._starved:
            found.append(f"{wire.outbox.data_size} bytes queued, {len(wire.outbox._ready)} ready")
    if len(owner.timers):
        found.append(f"{len(owner.timers)} timers")
    if hasattr(owner, "subchannel") and owner.subchannel._waiting:
        found.append(f"{len(owner.subchannel._waiting)} waiting calls")
    if hasattr(owner, "_workers") and owner._workers.busy:
        found.append(f"{owner._workers!r}")
    return found


async def assert_no_leaks(*owners, seconds=10.0):
    """Wait until ``owners`` hold nothing any more; say what they hold if that does not come about."""
    try:
        await until(lambda: not any(leaks(owner) for owner in owners), seconds=seconds)
    except TimeoutError:
        raise AssertionError([leaks(owner) for owner in owners]) from None
