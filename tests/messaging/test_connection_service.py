"""The connection service: who the node is, and invocations over one stream."""

import anyio
import pytest

from orbit_net.client import Channel
from orbit_net.errors import InvocationFailed
from orbit_net.messaging import OrbitConnectionService
from orbit_net.model import NodeId
from orbit_net.proto.orbit.shared import (
    AddressableReferenceProto,
    ConnectionInfoRequestProto,
    ErrorProto,
    InvocationRequestProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
    NodeIdProto,
)
from orbit_net.proto.orbit.shared.services import ConnectionServiceStub
from orbit_net.server import Server

pytestmark = pytest.mark.anyio


class Actors:
    """Counts how many invocations run at once; ``gate`` holds those of the method ``wait``."""

    def __init__(self):
        self.running = self.most = self.begun = 0
        self.gate = anyio.Event()

    async def invoke(self, request):
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if request.method == "fail":
                raise InvocationFailed("out of coffee", actor_type="Barista", method="fail")
            if request.method == "crash":
                raise RuntimeError("secret")
            if request.method == "wait":
                await self.gate.wait()
            return request.arguments
        finally:
            self.running -= 1


@pytest.fixture
async def served():
    actors = Actors()
    service = OrbitConnectionService(NodeId("n1", "space"), actors.invoke, max_in_flight=4)
    async with Server([service]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel:
            yield actors, ConnectionServiceStub(channel)


def invocation(number, method="echo", arguments="[]", attempts=0):
    reference = AddressableReferenceProto("Barista", KeyProto(string_key="1"))
    request = InvocationRequestProto(reference=reference, method=method, arguments=arguments)
    source = NodeIdProto(key="caller", namespace="default")
    content = MessageContentProto(invocation_request=request)
    return MessageProto(message_id=number, source=source, content=content, attempts=attempts)


async def answers(stub, *messages):
    async with stub.open_stream(timeout=10) as stream:
        for message in messages:
            await stream.send_message(message)
        await stream.end()
        return [answer async for answer in stream]


async def test_the_node_tells_its_own_id(served):
    """GetConnectionInfo and info_request answer with the id given at construction, each time."""
    _, stub = served
    for _ in range(2):
        info = await stub.get_connection_info(ConnectionInfoRequestProto())
        assert (info.node_id.key, info.node_id.namespace) == ("n1", "space")
    question = MessageProto(message_id=7, content=MessageContentProto(info_request=ConnectionInfoRequestProto()))
    [answer] = await answers(stub, question)
    assert (answer.message_id, answer.content.info_response.node_id.key) == (7, "n1")


async def test_the_value_comes_under_the_same_message_id(served):
    """An answer carries the id and the attempts of its question, its own source, and goes to the asking node."""
    [answer] = await answers(served[1], invocation(42, arguments='{"a": 1}', attempts=3))
    assert answer.content.invocation_response.value == '{"a": 1}'
    assert (answer.message_id, answer.attempts, answer.source.key) == (42, 3, "n1")
    assert answer.target.unicast_target.target.key == "caller"


async def test_a_failed_invocation_is_answered_with_its_reason(served):
    """InvocationFailed gives invocation_response_error with its reason and the platform."""
    [answer] = await answers(served[1], invocation(1, "fail"))
    error = answer.content.invocation_response_error
    assert error.description == "out of coffee"
    assert "Python" in error.platform or "PyPy" in error.platform


async def test_a_crash_is_logged_and_its_text_is_not_told(served, caplog):
    """Any other exception tells its type alone."""
    [answer] = await answers(served[1], invocation(1, "crash"))
    assert answer.content.invocation_response_error.description == "the invocation failed with RuntimeError"
    assert "secret" in caplog.text


async def test_invocations_run_side_by_side_up_to_the_limit(served):
    """A waiting invocation does not hold up the next; above max_in_flight the stream is not read."""
    actors, stub = served
    async with stub.open_stream(timeout=10) as stream:
        for number in range(3):
            await stream.send_message(invocation(number, "wait"))
        await stream.send_message(invocation(3))
        assert (await stream.recv_message()).message_id == 3
        for number in range(4, 20):
            await stream.send_message(invocation(number, "wait"))
        await stub.get_connection_info(ConnectionInfoRequestProto())
        assert actors.running <= 4
        actors.gate.set()
        await stream.end()
        assert {answer.message_id async for answer in stream} == {*range(20)} - {3}
    assert (actors.begun, actors.most) == (20, 4)


async def test_answers_without_a_question_are_ignored_and_emptiness_is_an_error(served):
    """An error message gets no answer, a message without content gets an error."""
    lost = MessageProto(message_id=1, content=MessageContentProto(error=ErrorProto(description="?")))
    [answer] = await answers(served[1], lost, MessageProto(message_id=2))
    assert (answer.message_id, answer.content.error.description) == (2, "the message has no content")
