"""Sends the messages of an iterable while another task receives: what full duplex needs and a generator cannot own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import anyio

from orbit_net.errors import RpcError
from orbit_net.net import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from orbit_net.client.call import ClientStream

__all__ = ["Sender"]


class Sender:
    """Runs in a task of the channel, so that it outlives no channel and is bound to no cancel scope of the caller."""

    def __init__(self, call: ClientStream[Any, Any], messages: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._call = call
        self._messages = messages
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Send everything and the end. Never raises: a failing iterable ends the call with its error.

        Stops when the server has answered: nobody wants the rest.
        """
        try:
            with self._scope:
                await self._send()
        except Exception as error:  # noqa: BLE001 - whatever the user's iterable raises belongs to the receiving side
            self._call.fail_by(error)
        except anyio.get_cancelled_exc_class() as error:
            if is_cancelled():
                raise
            cancelled = RuntimeError("the request iterator let a foreign cancellation escape")
            cancelled.__cause__ = error
            self._call.fail_by(cancelled)
        finally:
            await self._close_iterable()

    async def _send(self) -> None:
        if isinstance(self._messages, AsyncIterable):
            async for message in self._messages:
                if not await self._send_one(message):
                    return
        else:
            for message in self._messages:
                if not await self._send_one(message):
                    return
        if not self._call.answered:
            await self._sent(self._call.end())

    async def _send_one(self, message: Any) -> bool:
        return not self._call.answered and await self._sent(self._call.send_message(message))

    async def _sent(self, sending: Awaitable[None]) -> bool:
        """Whether it was sent; if the call has failed, the receiving side reports it."""
        try:
            await sending
        except RpcError:
            return False
        return True

    async def _close_iterable(self) -> None:
        """Close an async generator here, where it ran, and not when it is collected."""
        close = getattr(self._messages, "aclose", None)
        if close is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1), contextlib.suppress(Exception):
                await close()

    def stop(self) -> None:
        """Stop sending: the call is over."""
        self._scope.cancel()
