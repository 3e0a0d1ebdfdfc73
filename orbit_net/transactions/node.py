"""A node that takes part in transactions and coordinates its own: everything of this package, put together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orbit_net.errors import ConfigurationError
from orbit_net.transactions.coordinator import TransactionCoordinator
from orbit_net.transactions.durable import DurableParticipants
from orbit_net.transactions.log import MemoryLog, MemoryVoteLog
from orbit_net.transactions.sender import GrpcTransactionMessageSender
from orbit_net.transactions.service import TransactionService
from orbit_net.transactions.sqlite import SqliteLog, SqliteVoteLog

if TYPE_CHECKING:
    from types import TracebackType

    from orbit_net.client import ConnectionPool, TransportConfig
    from orbit_net.directory import NodeResolver
    from orbit_net.model import AddressableReference, NodeId
    from orbit_net.transactions.log import DecisionLog, VoteLog
    from orbit_net.transactions.participant import Behaviour
    from orbit_net.transactions.settings import ParticipantConfig, TransactionConfig

__all__ = ["TransactionNode"]


class TransactionNode:
    """The sender, the participants, the coordinator and the service of one node.

    What must survive a crash is kept in ``directory``, or in memory without one; ``log`` and ``votes`` replace its
    files. ``service`` is for the server of the node. Using it needs ``async with``; enter it before the server listens,
    so that nobody is answered before the logs are read.

    Example::

        node = TransactionNode(NodeId("n1"), resolver, directory="/var/lib/orbit")
        node.register("BankAccount", BankAccount())
        async with node, Server([node.service]) as server:
            await server.serve("0.0.0.0:50051")
    """

    def __init__(
        self,
        node_id: NodeId,
        resolver: NodeResolver,
        *,
        directory: Path | str | None = None,
        log: DecisionLog | None = None,
        votes: VoteLog | None = None,
        config: TransactionConfig | None = None,
        participant_config: ParticipantConfig | None = None,
        transport: TransportConfig | None = None,
        pool: ConnectionPool | None = None,
    ) -> None:
        folder = None if directory is None else Path(directory)
        if log is None:
            log = MemoryLog() if folder is None else SqliteLog(folder / "decisions.db")
        if votes is None:
            votes = MemoryVoteLog() if folder is None else SqliteVoteLog(folder / "votes.db")
        self.node_id = node_id
        self.sender = GrpcTransactionMessageSender(node_id, resolver, transport, pool=pool)
        self.participants = DurableParticipants(node_id, self.sender, log=votes, config=participant_config)
        self.coordinator = TransactionCoordinator(node_id, self.sender, log=log, config=config)
        self.service = TransactionService(node_id, self.participants, coordinator=self.coordinator, sender=self.sender)
        self._stack: AsyncExitStack | None = None

    def register(self, actor_type: str, behaviour: Behaviour) -> None:
        """Have the actors of a type take part on this node."""
        self.participants.register(actor_type, behaviour)

    def state(self, reference: AddressableReference) -> Any:
        """Return the state of an actor of this node after what is committed."""
        return self.participants.state(reference)

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise ConfigurationError("a node can be entered once; make a new one")
        self._stack = AsyncExitStack()
        try:
            for part in (self.sender, self.participants, self.coordinator):
                await self._stack.enter_async_context(part)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stack is not None
        await self._stack.aclose()

    def __repr__(self) -> str:
        return f"<TransactionNode {self.node_id}: {self.coordinator!r}, {self.participants!r}>"
