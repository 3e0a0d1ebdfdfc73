"""Sends the messages of transactions over gRPC."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

import anyio

from orbit_net.client import ConnectionPool, TransportConfig
from orbit_net.errors import ConfigurationError, DecodeError, OrbitError, TransactionRefused
from orbit_net.proto.orbit.transactions import (
    BroadcastMessageRequest,
    TransactionMessageRequest,
)
from orbit_net.proto.orbit.transactions.services import TransactionServiceStub
from orbit_net.transactions.convert import TargetConverter, TransactionMessageConverter
from orbit_net.transactions.delivery import BroadcastResult, Delivery, retry_table
from orbit_net.transactions.messages import Prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from orbit_net.client import PoolStats
    from orbit_net.directory import NodeResolver
    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.proto.orbit.transactions import BroadcastMessageResponse, TransactionMessageResponse
    from orbit_net.transactions.messages import TransactionMessage

__all__ = ["GrpcTransactionMessageSender"]

_log = logging.getLogger("orbit_net.transactions")


class GrpcTransactionMessageSender:
    """Sends to actors wherever the ``resolver`` places them, over a pool of connections to their nodes.

    ``config`` makes a pool of the sender's own, which lives as long as the sender is entered: every five minutes it
    closes connections that were idle for ten, and it leaves nodes alone that fail again and again (its circuit
    breaker). A ``pool`` that is given is used instead and left to its owner. Which kinds of message are tried again is
    in :func:`~orbit_net.transactions.retry_table`. All methods may be used by many tasks at once, and cancelled.

    Example::

        async with GrpcTransactionMessageSender(NodeId("n1"), resolver) as sender:
            reply = await sender.send_message(account, Prepare(transaction_id, [operation]))
    """

    def __init__(
        self,
        node_id: NodeId,
        resolver: NodeResolver,
        config: TransportConfig | None = None,
        *,
        pool: ConnectionPool | None = None,
    ) -> None:
        if pool is not None and config is not None:
            raise ConfigurationError("give a config or a pool, not both: the pool has a config of its own")
        self.node_id = node_id
        self.resolver = resolver
        self.pool = ConnectionPool(config) if pool is None else pool
        self._own_pool = pool is None
        self._retries = retry_table(self.pool.config)

    async def __aenter__(self) -> Self:
        if self._own_pool:
            await self.pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own_pool:
            await self.pool.__aexit__(None, None, None)

    async def send_message(
        self,
        target: AddressableReference,
        message: TransactionMessage,
        *,
        node: NodeId | None = None,
        timeout: float | None = None,
    ) -> TransactionMessage | None:
        """Send to one actor, on ``node`` if given and else where the resolver says, and return what it says to that.

        ``timeout`` in seconds, over all attempts. None is returned where the answer comes as a message of its own, as
        from nodes of Orbit-RS. Raises what the resolver raises; :class:`RpcError` and :class:`ConnectError` when the
        node was not reached, retries included (``retryable`` tells whether later may help); and
        :class:`TransactionRefused` when the actor refuses. Cancellation: the message may have arrived or not.
        """
        where = await self.resolver.resolve_addressable(target) if node is None else node
        stub = await self._stub(where, message)
        name = TargetConverter.to_proto(target)
        request = TransactionMessageRequest(
            sender_node_id=str(self.node_id),
            target_actor_type=name.actor_type,
            target_actor_key=name.actor_key,
            message=TransactionMessageConverter.to_proto(message),
            timeout_ms=self._milliseconds(timeout),
            inline_reply=True,
        )
        delivery = _delivery(await stub.send_transaction_message(request, timeout=timeout))
        _log.debug("sent %s to %s (%.0f ms)", type(message).__name__, target, delivery.processing_time * 1_000)
        if delivery.error is not None:
            raise delivery.error
        return delivery.reply

    async def broadcast_message(
        self,
        targets: Iterable[AddressableReference],
        message: TransactionMessage,
        *,
        node: NodeId | None = None,
        timeout: float | None = None,
    ) -> BroadcastResult:
        """Send to all ``targets``: one request to each node that has some of them, to all nodes at once.

        Each node gets the operations of its own actors only. Never raises for a target: the result says for each how it
        went. Cancellation: each message may have arrived or not.
        """
        wanted = tuple(dict.fromkeys(targets))
        found: dict[AddressableReference, Delivery] = {}
        by_node = {node: list(wanted)} if node is not None else await self._grouped(wanted, found)
        if by_node:
            (where, group), *others = by_node.items()
            if others:
                # The first in this task: a task more costs as much as what there is to do in it.
                async with anyio.create_task_group() as tasks:
                    for other in others:
                        tasks.start_soon(self._to_node, *other, message, timeout, found)
                    await self._to_node(where, group, message, timeout, found)
            else:
                await self._to_node(where, group, message, timeout, found)
        result = BroadcastResult({target: found[target] for target in wanted})
        _log.debug("broadcast %s to %d nodes: %s", type(message).__name__, len(by_node), result)
        return result

    async def get_stats(self) -> PoolStats:
        """Return the counts of the pool."""
        return await self.pool.get_stats()

    # --- nodes -----------------------------------------------------------------------------------

    async def _grouped(
        self, targets: Sequence[AddressableReference], found: dict[AddressableReference, Delivery]
    ) -> dict[NodeId, list[AddressableReference]]:
        """Ask the resolver for those it does not know already, at once; who is nowhere is ``found`` to have failed."""
        cached = getattr(self.resolver, "cached_owner", _unknown)
        places: dict[AddressableReference, NodeId | None] = {target: cached(target) for target in targets}

        async def look(target: AddressableReference) -> None:
            try:
                places[target] = await self.resolver.resolve_addressable(target)
            except OrbitError as error:
                found[target] = Delivery(error)

        unknown = [target for target, place in places.items() if place is None]
        if unknown:
            async with anyio.create_task_group() as tasks:
                for target in unknown:
                    tasks.start_soon(look, target)
        groups: dict[NodeId, list[AddressableReference]] = {}
        for target, place in places.items():
            if place is not None:
                groups.setdefault(place, []).append(target)
        return groups

    async def _stub(self, node: NodeId, message: TransactionMessage) -> TransactionServiceStub:
        connection = await self.pool.get_connection(await self.resolver.resolve_node(node))
        return TransactionServiceStub(connection, retry=self._retries[type(message)] or False)

    async def _to_node(
        self,
        node: NodeId,
        targets: list[AddressableReference],
        message: TransactionMessage,
        timeout: float | None,
        found: dict[AddressableReference, Delivery],
    ) -> None:
        """Send one request, and enter into ``found`` how it went for each target."""
        if isinstance(message, Prepare):
            message = message.narrowed(targets)
        try:
            stub = await self._stub(node, message)
            request = BroadcastMessageRequest(
                sender_node_id=str(self.node_id),
                targets=list(map(TargetConverter.to_proto, targets)),
                message=TransactionMessageConverter.to_proto(message),
                timeout_ms=self._milliseconds(timeout),
                inline_reply=True,
            )
            response = await stub.broadcast_transaction_message(request, timeout=timeout)
            deliveries = _deliveries(response, len(targets))
        except OrbitError as error:
            _log.debug("%s did not reach %s: %s", type(message).__name__, node, error)
            deliveries = [Delivery(error)] * len(targets)
        if deliveries is None:
            await self._one_by_one(node, targets, message, timeout, found)
        else:
            found.update(zip(targets, deliveries, strict=True))

    async def _one_by_one(
        self,
        node: NodeId,
        targets: list[AddressableReference],
        message: TransactionMessage,
        timeout: float | None,
        found: dict[AddressableReference, Delivery],
    ) -> None:
        """Find out which targets failed at a node that only counts them: to repeat a message is harmless."""

        async def send(target: AddressableReference) -> None:
            try:
                found[target] = Delivery(None, await self.send_message(target, message, node=node, timeout=timeout))
            except OrbitError as error:
                found[target] = Delivery(error)

        async with anyio.create_task_group() as tasks:
            for target in targets:
                tasks.start_soon(send, target)

    def _milliseconds(self, timeout: float | None) -> int:
        limit = self.pool.config.request_timeout
        seconds = float(limit) if isinstance(limit, (int, float)) else limit.total_seconds()
        return int(1_000 * (seconds if timeout is None else min(timeout, seconds)))

    def __repr__(self) -> str:
        return f"<GrpcTransactionMessageSender of {self.node_id} over {self.pool!r}>"


def _unknown(reference: AddressableReference) -> None:
    """What a resolver without a cache knows without asking."""


def _delivery(response: TransactionMessageResponse) -> Delivery:
    reply = None if response.reply is None else TransactionMessageConverter.from_proto(response.reply)
    error = None if response.success else TransactionRefused(response.error_message or "no reason given")
    return Delivery(error, reply, response.processing_time_ms / 1_000)


def _deliveries(response: BroadcastMessageResponse, number: int) -> list[Delivery] | None:
    """Return how it went for each target, or None where the response does not say it."""
    if response.results:
        if len(response.results) != number:
            raise DecodeError(f"BroadcastMessageResponse.results: {len(response.results)} for {number} targets")
        return [_delivery(result) for result in response.results]
    if not response.failed_sends:
        return [Delivery()] * number
    if number == 1:
        return [Delivery(TransactionRefused("; ".join(response.errors) or "no reason given"))]
    return None
