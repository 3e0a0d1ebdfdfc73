"""The way of a call through the interceptors of its channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
from grpclib.exceptions import GRPCError

from orbit_net.client.outgoing import OutgoingCall
from orbit_net.errors import RpcError
from orbit_net.net import Failure
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.client.attempt import Attempt
    from orbit_net.client.call import ClientStream

__all__ = ["Opening"]


class Opening:
    """Runs the chain once, in the operation that opens the call; others that need the call open wait for its end.

    The one cancel scope is entered and left within that operation. It holds the call's deadline over the interceptors,
    which may wait for whatever they like. Cancellation while they run ends the call, because what they have done so far
    cannot be done again.
    """

    __slots__ = ("_attempt", "_call", "_done", "_stream")

    def __init__(self, stream: ClientStream[Any, Any], attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt
        self._call = OutgoingCall(stream, attempt)
        self._done = anyio.Event()

    async def run(self, chain: Callable[[OutgoingCall], Awaitable[None]]) -> None:
        """Open the call, or end it and raise why."""
        attempt, call = self._attempt, self._call
        call.scope.deadline = math.inf if attempt.deadline is None else attempt.deadline
        try:
            with call.scope:
                await chain(call)
        except Exception as error:
            refusal = self._refusal(error)
            self._stream.fail_by(refusal)
            if refusal is error:
                raise
            raise refusal from error
        except BaseException:
            attempt.end_by(Failure(Status.CANCELLED, "the call was cancelled while it was being opened", urgent=True))
            raise
        finally:
            self._done.set()
        if call.scope.cancelled_caught:
            raise attempt.fail(attempt.too_late())
        if not call.opened:
            raise attempt.fail(Failure(Status.INTERNAL, "an interceptor neither went on nor refused the call"))

    @staticmethod
    def _refusal(error: Exception) -> Exception:
        """Return what the user sees of an exception of the chain: grpclib's as ours, all others as they are."""
        if not isinstance(error, GRPCError) or (isinstance(error, RpcError) and error.status is not Status.OK):
            return error
        if error.status is Status.OK:
            return RpcError(Status.INTERNAL, "an interceptor refused the call with the status OK")
        return RpcError(error.status, error.message, error.details)

    async def wait(self) -> None:
        """Wait until the chain has ended; whether the call is open is the caller's to see."""
        await self._done.wait()

    def stop(self) -> None:
        """Cancel the interceptors, if they are still running, and end the call."""
        if not self._done.is_set():
            self._attempt.end_by(Failure(Status.CANCELLED, "the call was left while it was being opened", urgent=True))
            self._call.scope.cancel()
