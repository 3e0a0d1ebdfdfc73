"""The client of etcd without an etcd: what it says when nobody answers."""

import anyio
import pytest
from anyio.abc import SocketAttribute

from orbit_net.directory import EtcdClient, EtcdSettings
from orbit_net.errors import OrbitTimeout
from patience import until_begun

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(20)]


async def test_a_try_cut_short_hides_no_reason():
    """Whoever waited in vain is told why etcd was not reached, though the last try still waited for a connection."""
    connections, told = 0, ""

    async def drop_the_first(stream):
        nonlocal connections
        connections += 1
        async with stream:
            if connections > 1:
                await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, drop_the_first)
        endpoint = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"

        async def ask(timeout):
            nonlocal connections, told
            connections = 0
            settings = EtcdSettings(timeout=timeout, try_timeout=5.0, pause=0.01)
            async with EtcdClient([endpoint], settings=settings) as client:
                with pytest.raises(OrbitTimeout) as raised:
                    await client.range(b"key")
            told = str(raised.value)

        await until_begun(ask, lambda: connections > 1, first=0.3)
        assert "DEADLINE_EXCEEDED: Deadline exceeded; there was no connection: no gRPC connection to 127.0.0.1" in told
        tasks.cancel_scope.cancel()
