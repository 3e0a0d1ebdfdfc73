"""Cancels an operation at its first scheduling step, its second, and so on, until it completes undisturbed."""

from itertools import count

import anyio
from anyio.lowlevel import checkpoint

MOST = 300


class Knife:
    """Cancels what it is given after a number of scheduling steps; ``cut`` tells whether that came in time."""

    def __init__(self, ticks):
        self.ticks = ticks
        self.cut = False
        self.used = False

    async def __call__(self, operation, *arguments, arm=None, **options):
        """Run ``operation`` and return its result, or None when it was cancelled.

        The steps are counted from the beginning, or from when the event ``arm`` is set.
        """
        assert not self.used
        self.used = True
        result = None
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:

                async def count_down():
                    if arm is not None:
                        await arm.wait()
                    for _ in range(self.ticks):
                        await checkpoint()
                    scope.cancel()

                tasks.start_soon(count_down)
                result = await operation(*arguments, **options)
            self.cut = scope.cancelled_caught
            tasks.cancel_scope.cancel()
        return result


async def at_every_checkpoint(scenario, *, least=1, most=MOST):
    """Run ``scenario(knife)`` with ever later cuts until the knife comes too late; return the number of cuts."""
    for ticks in count():
        knife = Knife(ticks)
        await scenario(knife)
        assert knife.used
        if not knife.cut:
            assert ticks >= least, f"{scenario} was not cancelled once"
            return ticks
        if ticks == most:
            raise AssertionError(f"{scenario} did not complete within {most} steps")
    raise AssertionError
