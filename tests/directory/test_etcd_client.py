"""The client of etcd without an etcd: what it says when nobody answers."""

import anyio
import pytest

from orbit_net.directory import EtcdClient
from orbit_net.directory.etcd.settings import EtcdSettings
from orbit_net.errors import OrbitTimeout, RpcError
from orbit_net.status import Status

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(20)]


async def test_a_try_cut_short_hides_no_reason():
    """Whoever waited in vain is told why etcd was not reached, not that the last try had too little time."""
    tries = 0

    async def question(_channel, options):
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RpcError(Status.UNAVAILABLE, "certificate refused")
        await anyio.sleep(options["timeout"])
        raise RpcError(Status.DEADLINE_EXCEEDED, "Deadline exceeded")

    settings = EtcdSettings(timeout=0.2, try_timeout=5.0, pause=0.01)
    async with EtcdClient(["127.0.0.1:1"], settings=settings) as client:
        with pytest.raises(OrbitTimeout, match="certificate refused"):
            await client.ask(question)
        tries = 1
        with pytest.raises(OrbitTimeout, match="DEADLINE_EXCEEDED"):
            await client.ask(question)
