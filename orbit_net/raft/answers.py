"""The way back: to the call that a request came by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.raft.messages import AppendEntriesResponse, VoteResponse
from orbit_net.raft.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.raft.messages import Message
    from orbit_net.raft.service import Replies

__all__ = ["Answers"]

_LOCAL_CONTEXT: Final = 1 << 62
"""Numbers from here on belong to calls that wait here for their answer; a leader's rounds never get so far."""
_TIMEOUT: Final = 5.0
"""Seconds that a call waits for the core; by then its leader or candidate has long asked again."""


class Answers:
    """Finds the call that an answer belongs to: one that waits for just this answer, or the sender's open exchange."""

    def __init__(self) -> None:
        self._replies: dict[str, Replies] = {}
        self._asked: dict[int, Waiter] = {}
        self._context = _LOCAL_CONTEXT

    def attach(self, node: str, replies: Replies) -> None:
        """Send the answers for ``node`` over the call that its messages come by."""
        self._replies[node] = replies

    def detach(self, node: str, replies: Replies) -> None:
        """The call has ended."""
        if self._replies.get(node) is replies:
            del self._replies[node]

    async def ask(self, message: Any, receive: Callable[[Message], None]) -> Message:
        """Hand in a request that came by a call of its own, and wait for the answer."""
        self._context += 1
        context = self._context
        waiter = self._asked[context] = Waiter()
        receive(replace(message, context=context))
        try:
            with anyio.fail_after(_TIMEOUT):
                answer: Message = replace(await waiter.wait(), context=message.context)
        except TimeoutError as error:
            raise GRPCError(Status.UNAVAILABLE, f"{message.target} has no answer") from error
        finally:
            del self._asked[context]
        return answer

    def send(self, message: Message) -> bool:
        """Send an answer if its call is still there; return whether that was, or needs no, sending."""
        if not isinstance(message, VoteResponse | AppendEntriesResponse):
            return False
        if message.context > _LOCAL_CONTEXT:
            waiter = self._asked.get(message.context)
            if waiter is not None:
                waiter.succeed(message)
            return True
        replies = self._replies.get(message.target)
        if replies is None:
            return False
        replies.put(message)
        return True
