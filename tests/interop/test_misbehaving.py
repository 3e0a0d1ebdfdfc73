"""Clients against servers that misbehave on purpose, ours on both loops and grpcio's for comparison.

Source: gRPC's http2-interop-test-descriptions.
"""

import anyio
import grpc
import pytest

from grpcio_peer import CLIENT, in_thread
from orbit_net.client import Channel
from orbit_net.errors import RpcError
from testservice import cases
from testservice.generated import generated as generate
from testservice.misbehaving import SERVERS, misbehaving

pytestmark = pytest.mark.anyio

AT_ONCE = 10
"""The calls of max_streams."""


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """The messages and services, by our generator and by grpcio's."""
    with generate(tmp_path_factory.mktemp("testservice")) as found:
        yield found


class _Ours:
    error = RpcError

    def __init__(self, channel, ours):
        self.m = ours.m
        self._stub = ours.TestServiceStub(channel, timeout=cases.LONGEST)

    async def call(self):
        reply = await self._stub.unary_call(cases.large(self.m))
        cases.check_zeros(reply.payload, cases.RESPONSE_SIZE)


class _Grpcio:
    error = grpc.RpcError

    def __init__(self, channel, theirs):
        self.m = theirs.m
        self._stub = theirs.TestServiceStub(channel)

    async def call(self):
        reply = await in_thread(self._stub.UnaryCall, cases.large(self.m), timeout=cases.LONGEST)
        cases.check_zeros(reply.payload, cases.RESPONSE_SIZE)


@pytest.mark.parametrize("client", ["orbit", "grpcio"])
@pytest.mark.parametrize("case", SERVERS)
async def test_case(case, client, protocol, anyio_backend, record_property):
    """The client does what the case demands, and the server has nothing to complain of."""
    record_property("interop", (case, f"{client}→http2_test", "plain", anyio_backend, None))
    async with misbehaving(case, protocol.ours.m) as (server, target):
        if client == "orbit":
            async with Channel(target) as channel:
                await _play(case, _Ours(channel, protocol.ours), server)
        else:
            with grpc.insecure_channel(target, options=CLIENT) as channel:
                await _play(case, _Grpcio(channel, protocol.theirs), server)
    assert server.faults == []


async def _play(case, client, server):
    if case.startswith("rst_"):
        with pytest.raises(client.error):
            await client.call()
        return
    await client.call()
    if case == "goaway":
        await client.call()
        assert server.connections == 2
    elif case == "max_streams":
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(client.call)
        assert server.connections == 1
