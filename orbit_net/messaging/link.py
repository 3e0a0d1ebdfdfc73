"""A live stream to one peer node: questions out, answers in, over as many connections as it takes."""

from __future__ import annotations

import logging
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final, Self

import anyio

from orbit_net.client import Channel
from orbit_net.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    EncodeError,
    OrbitError,
    OrbitTimeout,
)
from orbit_net.messaging.pending import Pending
from orbit_net.messaging.question import Awaited, Carried, Relayed
from orbit_net.messaging.row import Row
from orbit_net.messaging.settings import LinkSettings
from orbit_net.model import (
    InfoRequest,
    InfoResponse,
    Message,
    MessageConverter,
    NodeIdConverter,
    Unicast,
)
from orbit_net.net import Timers
from orbit_net.proto.orbit.shared.services import ConnectionServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.client import ClientStream
    from orbit_net.messaging.asker import Asker
    from orbit_net.model import Content, NodeId, Target
    from orbit_net.net import Timer
    from orbit_net.proto.orbit.shared import MessageProto

__all__ = ["DRAINED", "Link"]

_log = logging.getLogger("orbit_net.messaging")

DRAINED: Final = "orbit-stream"
"""The trailer by which a node says that it has answered every message that it read from the stream."""


class Link:
    """Questions of ``source`` to the node ``peer`` at ``target``, many in flight, answers in any order.

    The stream is opened at the first question. When it is lost, what was not sent yet waits for the next connection;
    what was sent is sent again only if it is idempotent, and fails with :class:`ConnectionLost` otherwise, for it may
    have been carried out. When no connection can be made, everything that waits fails with :class:`ConnectError`, and
    the next attempt waits for the backoff. Every question ends in an answer, an error, or its timeout.

    ``peer`` None takes whoever answers. Needs ``async with``, or a task that runs :meth:`run`; leaving the block fails
    what is open. ``connector`` replaces the socket, as in :class:`Channel`; ``on_drained`` is called when
    the peer has ended the stream because it leaves.
    """

    def __init__(
        self,
        source: NodeId,
        peer: NodeId | None,
        target: str,
        *,
        settings: LinkSettings | None = None,
        connector: Callable[[], Awaitable[ByteStream]] | None = None,
        random: Random | None = None,
        timers: Timers | None = None,
        on_drained: Callable[[], None] | None = None,
    ) -> None:
        self.source = source
        self.peer = peer
        self.target = target
        self.settings = settings or LinkSettings()
        self._connector = connector
        self._on_drained = on_drained
        self._random = random or Random()
        self._numbers = count(1)
        self._pending: Pending[Carried] = Pending(
            self.settings.max_pending, self.settings.max_queued, self.settings.max_attempts
        )
        self._own_timers = timers is None
        self._timers = Timers() if timers is None else timers  # an empty one is false
        self._row = Row(self._pending.has_room)
        self._work: anyio.Event | None = None
        self._tasks: TaskGroup | None = None
        self._scope: anyio.CancelScope | None = None
        self._open = False
        self._closed = False
        self._reason = "the link is full"
        self.connections = 0
        """How often a stream was open."""

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("a link can be entered once; make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self.close()
        self._tasks.cancel_scope.cancel()
        # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
        await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """Fail what is open and take nothing more. Does not wait."""
        self._end_all()
        if self._scope is not None:
            self._scope.cancel()

    def retire(self) -> None:
        """Send nothing more to a peer of which others say that it has gone, and close when it has answered.

        Its last answers, and the end of its stream, may arrive after the news; a peer that gives neither within the
        connect timeout is given up. What was not sent fails at once, as undelivered. Does not wait.
        """
        self._take_no_more(ConnectionLost(f"{self._name} has gone"))
        if self._pending and self._open and self._scope is not None:
            self._scope.deadline = anyio.current_time() + self.settings.connect_timeout
        else:
            self.close()

    def _take_no_more(self, reason: OrbitError) -> None:
        self._closed = True
        for question in self._pending.unsent():
            question.undelivered(reason)
        self._row.dissolve()

    def _end_all(self) -> None:
        reason = ConnectionLost(f"the link to {self._name} was closed")
        self._take_no_more(reason)
        for question in self._pending.unread():
            question.lost(reason)

    async def run(self) -> None:
        """Carry questions until the link is closed. Raises only cancellation."""
        try:
            with anyio.CancelScope() as self._scope:
                if self._closed:
                    return
                async with anyio.create_task_group() as tasks:
                    if self._own_timers:
                        tasks.start_soon(self._timers.run)
                    await self._connect_until_closed()
                    tasks.cancel_scope.cancel()
        finally:
            self._end_all()

    async def _connect_until_closed(self) -> None:
        failures = 0
        while True:
            while not self._pending.queued:
                await self._more()
            before = self.connections
            reason, drained = await self._one_connection()
            self._open = False
            if self.connections > before:
                failures = 0
                self._settle(reason, drained=drained)
            else:
                failures += 1
                self._reason = str(reason)
                _log.info("no link to %s: %s", self._name, reason)
                for question in self._pending.unsent():
                    question.undelivered(reason)
            if self._closed:
                return
            self._row.advance()
            if failures:
                await anyio.sleep(self.settings.backoff.delay(failures, self._random))

    def _settle(self, reason: OrbitError, *, drained: bool) -> None:
        _log.debug("the link to %s ended: %s", self._name, reason)
        if drained:
            if self._on_drained is not None and not self._closed:
                self._on_drained()
            for question in self._pending.unread():
                question.undelivered(reason)
        else:
            for question in self._pending.lost():
                question.lost(reason)

    # --- one connection --------------------------------------------------------------------------

    async def _one_connection(self) -> tuple[OrbitError, bool]:
        """Open a stream and carry until it ends; return why it did, and whether the peer answered all that it read."""
        end: tuple[OrbitError, bool] = ConnectError(f"no link to {self._name}"), False
        with anyio.CancelScope() as scope:
            try:
                async with Channel(self.target, settings=self.settings.channel, connector=self._connector) as channel:
                    end = await self._one_stream(channel)
                    scope.cancel()  # a peer that does not read must not hold up the next connection
            except OrbitError as error:
                end = error, False
        return end

    async def _one_stream(self, channel: Channel) -> tuple[OrbitError, bool]:
        timeout = self.settings.connect_timeout
        try:
            async with ConnectionServiceStub(channel).open_stream() as stream:
                with anyio.move_on_after(timeout):
                    await self._greet(stream)
                if not self._open:
                    return ConnectError(f"{self._name} did not say in {timeout:g} s who it is"), False
                self.connections += 1
                reason = await self._carry(stream)
                trailers = stream.trailing_metadata
                return reason, trailers is not None and trailers.get(DRAINED) == "drained"
        except ConnectError as error:
            return error, False
        except OrbitError as error:
            return ConnectError(f"no link to {self._name}: {error}"), False

    async def _greet(self, stream: ClientStream[MessageProto, MessageProto]) -> None:
        """Ask the peer who it is: its answer shows that the stream is open, and that it leads where it should."""
        question = Message(0, InfoRequest(), self.source)
        await stream.send_message(MessageConverter.to_proto(question))
        answer = await stream.recv_message()
        info = None if answer is None else MessageConverter.from_proto(answer).content
        if not isinstance(info, InfoResponse):
            raise ConnectError(f"{self._name} did not say who it is")
        if self.peer is not None and info.node_id != self.peer:
            raise ConnectError(f"at {self.target} is {info.node_id}, not {self.peer}")
        self._open = True

    async def _carry(self, stream: ClientStream[MessageProto, MessageProto]) -> OrbitError:
        """Send and receive until the stream ends; return why it did."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send, stream)
            reason = await self._receive(stream)
            tasks.cancel_scope.cancel()
        return reason

    async def _send(self, stream: ClientStream[MessageProto, MessageProto]) -> None:
        try:
            while True:
                question = self._pending.take()
                if question is None:
                    await self._more()
                    continue
                try:
                    await stream.send_message(MessageConverter.to_proto(question.message))
                except (EncodeError, ValueError) as error:  # text that protobuf cannot carry
                    self._pending.answered(question.message.message_id)
                    question.undelivered(ConfigurationError(f"the invocation cannot be sent: {error}"))
                if self._row.waiting:
                    self._row.advance()
        except OrbitError:
            return  # the receiving side sees the same end, and why

    async def _receive(self, stream: ClientStream[MessageProto, MessageProto]) -> OrbitError:
        try:
            while True:
                received = await stream.recv_message()
                if received is None:
                    return ConnectionLost(f"{self._name} has ended the stream")
                question = self._pending.answered(received.message_id)
                if question is None:
                    continue  # it came after its timeout
                try:
                    source = None if received.source is None else NodeIdConverter.from_proto(received.source)
                    content = MessageConverter.from_proto(received).content
                except DecodeError as error:
                    question.lost(error)
                else:
                    question.answer(content, source)
                if self._closed and not self._pending:
                    return ConnectionLost(f"{self._name} has answered everything, and has gone")
                if self._row.waiting:
                    self._row.advance()
        except OrbitError as error:
            return error

    async def _more(self) -> None:
        """Wait until something may have been queued."""
        self._work = anyio.Event()
        await self._work.wait()

    # --- questions -------------------------------------------------------------------------------

    async def ask(
        self,
        content: Content,
        *,
        until: float,
        idempotent: bool = False,
        target: Target | None = None,
        attempts: int = 0,
    ) -> Awaited:
        """Ask and wait for the end of the question, which is in what is returned: an answer, or an error.

        Waits, in the order of asking, while the link is full. ``until`` is in the event loop's time. A question whose
        wait is cancelled is forgotten; if it was sent, it may be carried out all the same.
        """
        question = Awaited(self._message(content, target, attempts), idempotent=idempotent)
        if question.size > self.settings.max_message:
            text = f"{question.size} bytes are more than the {self.settings.max_message} of a message"
            question.undelivered(ConfigurationError(f"the invocation cannot be sent: {text}"))
            return question
        timer: Timer = self._timers.add(until, question)
        try:
            if not self._pending.has_room(question.size) or self._row.waiting:
                await self._row.wait(question)
            if not question.over:
                self._submit(question)
                if self._row.waiting:
                    self._row.advance()
                await question.event.wait()
        finally:
            self._timers.cancel(timer)
            queued = self._pending.withdraw(question.message.message_id)
            if isinstance(question.error, OrbitTimeout) and (queued or not question.submitted):
                question.reached = False
                question.error = OrbitTimeout(f"the invocation was not sent in time; the last reason: {self._reason}")
            if self._row.waiting:
                self._row.advance()
        return question

    def relay(self, content: Content, asker: Asker, *, until: float, target: Target | None, attempts: int) -> None:
        """Pass on a question of another node. Never blocks: it is refused when the link is full."""
        question = Relayed(self._message(content, target, attempts), asker, self._forget)
        if self._row.waiting or not self._pending.has_room(question.size):
            question.undelivered(ConnectionLost(f"{len(self._pending)} questions wait for {self._name}; it is full"))
            return
        question.timer = self._timers.add(until, question)
        self._submit(question)

    def _forget(self, question: Relayed) -> None:
        """A relayed question is over: it must not stay in the queue, nor in the timers."""
        self._pending.withdraw(question.message.message_id)
        if question.timer is not None:
            self._timers.cancel(question.timer)

    async def info(self, *, timeout: float | None = None) -> NodeId:
        """Ask the peer, in the stream, who it is. Raises :class:`OrbitTimeout` or :class:`NetworkError`."""
        until = anyio.current_time() + (self.settings.timeout if timeout is None else timeout)
        answer = await self.ask(InfoRequest(), until=until, idempotent=True)
        if isinstance(answer.content, InfoResponse):
            return answer.content.node_id
        raise answer.error or ConnectionLost(f"{self._name} did not say who it is")

    def _message(self, content: Content, target: Target | None, attempts: int) -> Message:
        if target is None and self.peer is not None:
            target = Unicast(self.peer)
        return Message(next(self._numbers), content, self.source, target, attempts)

    def _submit(self, question: Carried) -> None:
        if self._closed:
            question.undelivered(ConnectionLost(f"the link to {self._name} was closed"))
            return
        question.submitted = True
        self._pending.add(question)
        if self._work is not None:
            self._work.set()
            self._work = None

    @property
    def _name(self) -> str:
        return str(self.peer or self.target)

    def __repr__(self) -> str:
        pending = self._pending
        state = ("ending" if pending else "closed") if self._closed else "open" if self._open else "down"
        return f"<Link to {self._name} {state}, {pending.queued} queued, {len(pending) - pending.queued} in flight>"
