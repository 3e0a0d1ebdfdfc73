"""Retries between us and grpcio, which has gRFC A6 too."""

import json
import threading

import grpc
import pytest

from delays import retrying
from echo import Echo
from grpcio_peer import GrpcioEcho, in_thread, our_client, our_server
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from orbit_net.status import Status

pytestmark = pytest.mark.anyio

QUICK = retrying(initialBackoff="0.01s", maxBackoff="0.02s")
ATTEMPTS = "grpc-previous-rpc-attempts"


class Unready(GrpcioEcho):
    """Fails a number of times; keeps what it is told of earlier attempts, and the requests."""

    def __init__(self, failures, **trailers):
        self.failures = failures
        self.trailers = [(name.replace("_", "-"), value) for name, value in trailers.items()]
        self.seen = []
        self.lock = threading.Lock()

    def _answer(self, request, context):
        with self.lock:
            self.seen.append((dict(context.invocation_metadata()).get(ATTEMPTS), request))
            failing = len(self.seen) <= self.failures
        if failing:
            context.set_trailing_metadata(self.trailers)
            context.abort(grpc.StatusCode.UNAVAILABLE, "not ready")
        return b"ready"

    def unary(self, request, context):
        return self._answer(request, context)

    def sum(self, requests, context):
        return self._answer(b"".join(requests), context)


async def test_our_unary_call():
    """Our client tries again until a grpcio server is ready, and numbers its attempts."""
    service = Unready(3)
    async with our_client(service, given={"service_config": QUICK}) as (_, stub):
        assert await stub.unary(b"x") == b"ready"
    assert service.seen == [(number, b"x") for number in (None, "1", "2", "3")]


async def test_our_client_stream():
    """A stream of requests is sent again as a whole."""
    service = Unready(2)
    async with our_client(service, given={"service_config": QUICK}) as (_, stub):
        assert await stub.sum([b"1", b"2", b"3"]) == b"ready"
    assert [request for _, request in service.seen] == [b"123"] * 3


async def test_our_attempts_end():
    """After the fourth failure the call fails."""
    service = Unready(9)
    async with our_client(service, given={"service_config": QUICK}) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x")
    assert raised.value.status is Status.UNAVAILABLE
    assert len(service.seen) == 4


async def test_their_pushback():
    """A grpcio server that forbids further attempts is heard."""
    service = Unready(9, grpc_retry_pushback_ms="-1")
    async with our_client(service, given={"service_config": QUICK}) as (_, stub):
        with pytest.raises(RpcError):
            await stub.unary(b"x")
    assert len(service.seen) == 1


class Refusing(Echo):
    """Fails a number of times, with trailing metadata."""

    def __init__(self, failures, **trailers):
        self.failures = failures
        self.trailers = {name.replace("_", "-"): value for name, value in trailers.items()}
        self.seen = []

    async def unary(self, request):
        call = current_call()
        self.seen.append(call.previous_attempts)
        if len(self.seen) <= self.failures:
            call.abort(Status.UNAVAILABLE, "not ready", metadata=self.trailers)
        return b"ready"


def options(config):
    """Return what makes a grpcio channel follow a service config."""
    return [("grpc.enable_retries", 1), ("grpc.service_config", json.dumps(config))]


async def test_their_call():
    """A grpcio client with the same service config tries our server again."""
    service = Refusing(3)
    async with our_server(service, options=options(QUICK)) as (_, stub):
        assert await in_thread(stub.unary, b"x", timeout=10) == b"ready"
    assert service.seen == [0, 1, 2, 3]


async def test_our_pushback_forbids():
    """A grpcio client hears our server forbid further attempts."""
    service = Refusing(9, grpc_retry_pushback_ms="-1")
    async with our_server(service, options=options(QUICK)) as (_, stub):
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(stub.unary, b"x", timeout=10)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert service.seen == [0]


async def test_our_pushback_delays():
    """A grpcio client takes the delay of our server instead of its own, which would be an hour."""
    service = Refusing(1, grpc_retry_pushback_ms="10")
    config = retrying(initialBackoff="3600s", maxBackoff="3600s")
    async with our_server(service, options=options(config)) as (_, stub):
        assert await in_thread(stub.unary, b"x", timeout=10) == b"ready"
    assert service.seen == [0, 1]
