"""How Orbit-RS behaves and what we do, row by row, as far as names, actors and health go.

The other rows: connections of an endpoint in ``client/test_pool.py`` (a further connection only when full), broadcasts
and participants' nodes in ``transactions/test_sender.py`` and ``test_coordinator.py``, Raft in ``raft/test_core.py``.
"""

import anyio
import pytest

from cluster import Ledger, cluster
from orbit_net.client import Channel
from orbit_net.codec import Codec
from orbit_net.errors import DecodeError, RpcError
from orbit_net.health import OrbitHealthService
from orbit_net.model import Int64Key, MessageConverter, NodeId, NoKey, StringKey, key_from_text
from orbit_net.proto.orbit.shared import (
    AddressableReferenceProto,
    ConnectionInfoRequestProto,
    HealthCheckRequest,
    HealthCheckResponseServingStatus,
    InvocationRequestProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
    NodeIdProto,
    NodeLeaseProto,
)
from orbit_net.proto.orbit.shared.services import ConnectionServiceStub, HealthServiceStub
from orbit_net.server import Server
from orbit_net.status import Status

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("text", ["space:n1", "(space:n1)"])
async def test_row_1_node_ids(text):
    """All of Orbit's forms are read, no bracket stays, and what is written is read by both sides."""
    assert NodeId.parse(text) == NodeId("n1", "space")
    assert str(NodeId.parse(text)) == "space:n1"
    assert NodeId.parse("n1") == NodeId("n1", "default")


async def test_row_2_keys_in_transactions():
    """A bare string on the wire: text when it is read, but for no-key; a number is found by its text."""
    assert str(Int64Key(42)) == str(key_from_text("42")) == "42"
    assert (key_from_text("42"), key_from_text("no-key")) == (StringKey("42"), NoKey())


async def test_row_3_the_stream_answers_and_does_not_echo():
    """A plain peer's message gets the value under its number, with its own attempts; the node tells its own id."""
    async with cluster("n1") as ([node], wires):
        async with Channel("n1:1", connector=lambda: wires.connect("n1:1")) as channel:
            stub = ConnectionServiceStub(channel)
            ids = {(await stub.get_connection_info(ConnectionInfoRequestProto())).node_id.key for _ in range(2)}
            assert ids == {"n1"}
            reference = AddressableReferenceProto("Ledger", KeyProto(int32_key=1))
            request = InvocationRequestProto(reference=reference, method="add", arguments="[5]")
            content = MessageContentProto(invocation_request=request)
            async with stub.open_stream() as stream:
                await stream.send_message(MessageProto(message_id=9, content=content, attempts=2))
                answer = await stream.recv_message()
                assert (answer.message_id, answer.attempts, answer.source.key) == (9, 2, "n1")
                assert answer.content.invocation_response.value == "5"
                broken = MessageProto(message_id=10, content=content, source=NodeIdProto(namespace="x"))
                await stream.send_message(broken)
                answer = await stream.recv_message()
                assert answer.message_id == 10
                assert "MessageProto.source.key" in answer.content.error.description
                await stream.end()
                assert await stream.recv_message() is None
        assert node.actors.active
    assert list(Ledger.log.values()) == [[None]]


async def test_row_4_health():
    """Watch stays open and tells each change; an unknown service is NOT_FOUND, and SERVICE_UNKNOWN to a watcher."""
    async with Server([OrbitHealthService()]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel:
            stub = HealthServiceStub(channel)
            with pytest.raises(RpcError) as caught:
                await stub.check(HealthCheckRequest(service="ghost"), timeout=10)
            assert caught.value.status is Status.NOT_FOUND
            async with stub.watch(HealthCheckRequest(service="ghost"), timeout=10) as watch:
                assert (await anext(watch)).status == HealthCheckResponseServingStatus.SERVICE_UNKNOWN
                with anyio.move_on_after(0.05) as scope:
                    await anext(watch)
                assert scope.cancelled_caught, "it stays open"


@pytest.mark.parametrize("nanos", [b"\xff\xff\xff\xff\x07", b"\x80\x94\xeb\xdc\x03", b"\xff" * 9 + b"\x01"])
async def test_row_5_a_bad_timestamp_is_an_error(nanos):
    """Nanos of 2147483647, 1000000000 and -1 in a lease are refused when it is read; no time is invented."""
    moment = b"\x10" + nanos
    with pytest.raises(DecodeError, match="nanos"):
        Codec().decode(b"\x12" + bytes([len(moment)]) + moment, NodeLeaseProto)


async def test_a_message_may_leave_out_who_sends_it_and_whom_it_is_for():
    """Orbit's nodes do not fill both in: the stream says them."""
    message = MessageProto(message_id=1, content=MessageContentProto(info_request=ConnectionInfoRequestProto()))
    read = MessageConverter.from_proto(message)
    assert (read.source, read.target, read.attempts) == (None, None, 0)
