"""Hedges of our client at a grpcio server, which sees what gRFC A6 says: numbered attempts, and losers cancelled."""

import threading

import grpc
import pytest

from grpcio_peer import GrpcioEcho, our_client
from orbit_net.errors import RpcError
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio

ATTEMPTS = "grpc-previous-rpc-attempts"
HEDGED = {
    "methodConfig": [
        {
            "name": [{"service": "test.Echo"}],
            "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.05s", "nonFatalStatusCodes": ["UNAVAILABLE"]},
        }
    ]
}


class Stuck(GrpcioEcho):
    """Answers from the third attempt on; tells what became of the others."""

    def __init__(self):
        self.seen = []
        self.cancelled = []
        self.lock = threading.Lock()

    def _number(self, context):
        number = int(dict(context.invocation_metadata()).get(ATTEMPTS, "0"))
        with self.lock:
            self.seen.append(number)
        return number

    def _wait(self, context, number):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(10)
        with self.lock:
            self.cancelled.append(number)

    def unary(self, request, context):
        number = self._number(context)
        if number < 2:
            self._wait(context, number)
        return request

    def sum(self, requests, context):
        number = self._number(context)
        whole = b"".join(requests)
        if number < 2:
            self._wait(context, number)
        return whole

    def count(self, request, context):
        number = self._number(context)
        if number == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not here")
        context.abort(grpc.StatusCode.NOT_FOUND, "nor there")
        yield b""


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_the_losers_are_cancelled(kind):
    """Two attempts hang, the third answers, and grpcio sees both others cancelled."""
    service = Stuck()
    async with our_client(service, given={"service_config": HEDGED}) as (_, stub):
        if kind == "unary":
            assert await stub.unary(b"x", timeout=10) == b"x"
        else:
            assert await stub.sum([b"1", b"2", b"3"], timeout=10) == b"123"
        assert sorted(service.seen) == [0, 1, 2]
        await until(lambda: len(service.cancelled) == 2)
        assert sorted(service.cancelled) == [0, 1]
        tally = stub.channel.hedging
        assert (tally.hedges, tally.cancelled, tally.duplicates) == (2, 2, 0)


async def test_failures():
    """A non-fatal failure is followed by the next attempt at once, a fatal one ends the call."""
    service = Stuck()
    async with our_client(service, given={"service_config": HEDGED}) as (_, stub):
        with pytest.raises(RpcError, match="nor there") as raised:
            async for _ in stub.count(b"1", timeout=10):
                pass
        assert raised.value.status is Status.NOT_FOUND
        assert service.seen == [0, 1]
