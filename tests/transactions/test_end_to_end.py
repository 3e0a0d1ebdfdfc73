"""Whole nodes: coordinator, participants, service, sender and logs, over memory streams."""

import pytest

from orbit_net.errors import TransactionAborted
from orbit_net.transactions import StateKind
from txnet import account, bank, transfer

pytestmark = pytest.mark.anyio


async def test_a_transfer_between_two_nodes():
    """Both accounts change, and the coordinator says COMMITTED."""
    async with bank("a", "b", "c") as cluster:
        state = await transfer(cluster.nodes["a"], account("b"), account("c"), 30)
        assert state.kind is StateKind.COMMITTED
        assert (cluster.balance("b"), cluster.balance("c")) == (70, 130)


async def test_a_no_undoes_all():
    """One account cannot pay: no account changes, and the reason is told."""
    async with bank("a", "b") as cluster:
        with pytest.raises(TransactionAborted, match="not enough money"):
            await transfer(cluster.nodes["a"], account("b"), account("a"), 130)
        assert (cluster.balance("a"), cluster.balance("b")) == (100, 100)
