"""The answering end of one actor stream: questions in, answers out in whatever order they come."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import anyio

from orbit_net.errors import DecodeError, EncodeError
from orbit_net.messaging.asker import PLATFORM
from orbit_net.model import (
    Failure,
    InvocationFailure,
    Message,
    MessageConverter,
    Unicast,
)

if TYPE_CHECKING:
    from orbit_net.model import Content, NodeId
    from orbit_net.proto.orbit.shared import MessageProto
    from orbit_net.server import ServerStream

__all__ = ["Receive", "Received", "Session"]


class Receive(Protocol):
    """Takes one message of a stream; ``received`` takes the answer."""

    def __call__(self, message: Message, received: Received) -> None:
        """See to the answer. Never blocks."""


class Received:
    """A message that came in by a session and has no answer yet."""

    __slots__ = ("_answered", "_session", "attempts", "message_id", "source")

    def __init__(self, session: Session, message_id: int, source: NodeId | None, attempts: int) -> None:
        self._session = session
        self._answered = False
        self.message_id = message_id
        self.source = source
        self.attempts = attempts

    @property
    def wanted(self) -> bool:
        """Whether the stream is still there."""
        return not self._session.over

    def answer(self, content: Content | None, source: NodeId | None = None) -> None:
        """Send the answer, once, or with None let it be."""
        if not self._answered:
            self._answered = True
            self._session.answer(self, content, source)


class Session:
    """Reads one stream and answers what comes, ``limit`` messages at the most between question and sent answer.

    Above that the stream is not read, so the peer's window closes: neither questions nor answers pile up.
    """

    def __init__(
        self,
        node_id: NodeId,
        stream: ServerStream[MessageProto, MessageProto],
        receive: Receive,
        *,
        limit: int,
        max_message: int,
    ) -> None:
        self._node_id = node_id
        self._stream = stream
        self._receive = receive
        self._limit = limit
        self._max_message = max_message
        self._unanswered = 0
        self._answers: deque[MessageProto] = deque()
        self._wake: anyio.Event | None = None
        self._room: anyio.Event | None = None
        self._reading: anyio.CancelScope | None = None
        self._ended = False
        self.over = False

    async def run(self) -> None:
        """Serve until the peer ends its side, or :meth:`finish` was called, and everything read is answered."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                with anyio.CancelScope() as self._reading:
                    if not self._ended:
                        await self._read()
                self._ended = True
                self._rouse()
        finally:
            self.over = True

    def finish(self) -> None:
        """Read nothing more, and end when everything read is answered. Does not wait."""
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        async for message in self._stream:
            self._unanswered += 1
            self._take(message)
            while self._unanswered >= self._limit:
                self._room = anyio.Event()
                await self._room.wait()

    def _take(self, wire: MessageProto) -> None:
        try:
            message = MessageConverter.from_proto(wire)
        except DecodeError as error:
            empty = "the message has no content"
            reason = empty if wire.content is None else f"the message is broken: {error}"
            Received(self, wire.message_id, None, wire.attempts).answer(Failure(reason))
            return
        self._receive(message, Received(self, message.message_id, message.source, message.attempts))

    def answer(self, received: Received, content: Content | None, source: NodeId | None) -> None:
        """Queue an answer; None says that the message was no question."""
        if content is None or self.over:
            self._done()
            return
        target = None if received.source is None else Unicast(received.source)
        answer = Message(received.message_id, content, source or self._node_id, target, received.attempts)
        self._answers.append(MessageConverter.to_proto(answer))
        self._rouse()

    async def _write(self) -> None:
        answers = self._answers
        while True:
            while answers:
                await self._send(answers.popleft())
                self._done()
            if self._ended and not self._unanswered:
                return
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _send(self, answer: MessageProto) -> None:
        content = answer.content
        value = None if content is None else content.invocation_response
        if value is not None and len(value.value) > self._max_message:
            reason = f"the value of {len(value.value)} bytes is larger than the {self._max_message} of a message"
            answer = self._instead(answer, reason)
        try:
            await self._stream.send_message(answer)
        except (EncodeError, ValueError) as error:  # text that protobuf cannot carry
            await self._stream.send_message(self._instead(answer, f"the answer cannot be sent: {type(error).__name__}"))

    def _instead(self, answer: MessageProto, reason: str) -> MessageProto:
        failure = InvocationFailure(reason, PLATFORM)
        return MessageConverter.to_proto(Message(answer.message_id, failure, self._node_id, None, answer.attempts))

    def _done(self) -> None:
        self._unanswered -= 1
        if self._room is not None and self._unanswered < self._limit:
            self._room.set()
            self._room = None
        if self._ended:
            self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def __repr__(self) -> str:
        state = "over" if self.over else "ending" if self._ended else "open"
        return f"<Session {state}, {self._unanswered} unanswered>"
