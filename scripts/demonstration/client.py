"""The client process: makes every kind of call to the node and tells what it sees; a surprise ends it with a reason."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anyio
from telling import Surprise, expect, tell

from orbit_net.client import Channel, ClientStream
from orbit_net.errors import RpcError
from orbit_net.proto.orbit.shared import (
    AddressableReferenceProto,
    ConnectionInfoRequestProto,
    HealthCheckRequest,
    HealthCheckResponseServingStatus,
    InvocationRequestProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
)
from orbit_net.proto.orbit.shared.services import ConnectionServiceStub, HealthServiceStub
from orbit_net.status import Status

INVOCATIONS = 1_000
Messages = ClientStream[MessageProto, MessageProto]


def invocation(number: int, actor: str, method: str, *arguments: object, key: str = "1") -> MessageProto:
    """Return the message that invokes a method of an actor."""
    reference = AddressableReferenceProto(addressable_type=actor, key=KeyProto(string_key=key))
    request = InvocationRequestProto(reference=reference, method=method, arguments=json.dumps(arguments))
    return MessageProto(message_id=number, content=MessageContentProto(invocation_request=request))


async def ask(messages: Messages, message: MessageProto) -> object:
    """Send one invocation and return the value that answers it."""
    await messages.send_message(message)
    answer = await messages.recv_message()
    expect(answer is not None and answer.message_id == message.message_id, f"an answer to {message.message_id}")
    response = answer.content.invocation_response if answer and answer.content else None
    expect(response is not None, f"a value, not {answer!r}")
    return json.loads(response.value) if response else None


async def check_health(health: HealthServiceStub, connection: ConnectionServiceStub) -> None:
    info = await connection.get_connection_info(ConnectionInfoRequestProto(), timeout=5)
    expect(info.node_id is not None and info.node_id.key == "demo-node", f"the node's own id, not {info!r}")
    answer = await health.check(HealthCheckRequest(service="orbit"), timeout=5)
    expect(answer.status == HealthCheckResponseServingStatus.SERVING, f"SERVING, not {answer.status!r}")
    tell("health check    the node 'demo-node' says that its service 'orbit' is SERVING")


async def invoke_many(connection: ConnectionServiceStub) -> None:
    """Send all invocations on one stream without waiting, and match the answers by their numbers."""
    sent: dict[int, float] = {}
    async with connection.open_stream(timeout=60) as messages, anyio.create_task_group() as tasks:

        async def send() -> None:
            for number in range(INVOCATIONS):
                sent[number] = time.perf_counter()
                await messages.send_message(invocation(number, "Counter", "add", 1, key=str(number % 10)))
            await messages.end()

        started = time.perf_counter()
        tasks.start_soon(send)
        latencies = [time.perf_counter() - sent.pop(answer.message_id) async for answer in messages]
        seconds = time.perf_counter() - started
    expect(not sent and len(latencies) == INVOCATIONS, f"{INVOCATIONS} answers, not {len(latencies)}")
    latencies.sort()
    median, slowest = latencies[len(latencies) // 2] * 1e3, latencies[-1] * 1e3
    tell(
        f"invocations     {INVOCATIONS:,} actor invocations over one stream: {INVOCATIONS / seconds:,.0f} a second, "
        f"median {median:.1f} ms, slowest {slowest:.1f} ms, all in flight together"
    )


async def miss_deadline(connection: ConnectionServiceStub) -> None:
    timeout, begun = 0.1, False
    while not begun:  # a node on a busy machine may need longer to begin
        timeout *= 2
        started = time.perf_counter()
        try:
            async with connection.open_stream(timeout=timeout) as messages:
                await ask(messages, invocation(1, "Sleeper", "sleep", 60))
        except RpcError as error:
            expect(error.status is Status.DEADLINE_EXCEEDED, f"DEADLINE_EXCEEDED, not {error}")
            seconds = time.perf_counter() - started
        else:
            raise Surprise("the deadline did not fire")
        begun = await ask_elsewhere(connection, "Sleeper", "begun") > 0
    tell(f"deadline        a call with {timeout:g} s to live ended with DEADLINE_EXCEEDED after {seconds:.2f} s")


async def cancel(connection: ConnectionServiceStub) -> None:
    with anyio.CancelScope() as scope:
        async with connection.open_stream() as messages, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, messages, invocation(1, "Sleeper", "sleep", 60))
            await ask_elsewhere(connection, "Counter", "add", 1)  # the first call reached the node before this one
            scope.cancel()
    abandoned = await ask_elsewhere(connection, "Sleeper", "abandoned", 2)
    tell(f"cancellation    a call was cancelled; the node stopped the {abandoned} handlers that nobody waits for")


async def ask_elsewhere(connection: ConnectionServiceStub, kind: str, method: str, *arguments: object) -> Any:
    async with connection.open_stream(timeout=10) as messages:
        value = await ask(messages, invocation(1, kind, method, *arguments))
        await messages.end()
    return value


async def drain(health: HealthServiceStub, connection: ConnectionServiceStub) -> None:
    """Ask the node to go, while a watch and a slow invocation are open: both must end properly."""
    statuses = []
    async with (
        health.watch(HealthCheckRequest(service="orbit")) as watch,
        connection.open_stream(timeout=10) as slow,
        connection.open_stream(timeout=10) as operator,
    ):
        statuses.append((await anext(watch)).status)
        await slow.send_message(invocation(1, "Sleeper", "sleep", 0.5))
        await ask(operator, invocation(2, "Operator", "drain"))
        await operator.end()
        statuses.append((await anext(watch)).status)
        serving, not_serving = HealthCheckResponseServingStatus.SERVING, HealthCheckResponseServingStatus.NOT_SERVING
        expect(statuses == [serving, not_serving], f"SERVING and then NOT_SERVING, not {statuses}")
        tell("watch           the open health watch saw SERVING → NOT_SERVING: the node is about to go")
        answer = await slow.recv_message()
        value = answer.content.invocation_response if answer and answer.content else None
        expect(value is not None and json.loads(value.value) == "slept well", f"the slow answer, not {answer!r}")
        await slow.end()
    tell("graceful drain  the invocation in flight was answered before the node closed the connection")


async def run(target: str) -> None:
    """Tell the whole story."""
    async with Channel(target) as channel:
        health, connection = HealthServiceStub(channel), ConnectionServiceStub(channel)
        await check_health(health, connection)
        await invoke_many(connection)
        await miss_deadline(connection)
        await cancel(connection)
        await drain(health, connection)


if __name__ == "__main__":
    try:
        anyio.run(run, sys.argv[2], backend=sys.argv[1])
    except (Surprise, RpcError) as error:
        print(f"  SURPRISE        {error}", flush=True)
        sys.exit(1)
