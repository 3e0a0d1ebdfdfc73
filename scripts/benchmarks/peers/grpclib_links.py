"""grpclib with betterproto2: the least that gives invocations by number over one stream, and an echo that answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from grpclib.client import Channel, StreamStreamMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from orbit_net.proto.orbit.shared import (
    AddressableReferenceProto,
    InvocationRequestProto,
    InvocationResponseProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProto,
    MessageTargetProtoUnicast,
    NodeIdProto,
)

from ..echo import Connection
from .grpclib_actors import serving

_PATH = "/orbit.shared.ConnectionService/OpenStream"
_NODE, _CALLER = NodeIdProto(key="node", namespace="default"), NodeIdProto(key="caller", namespace="default")


class _Echo:
    async def stream(self, stream: Stream[MessageProto, MessageProto]) -> None:
        async for message in stream:
            assert message.content is not None
            assert message.content.invocation_request is not None
            value = json.dumps(json.loads(message.content.invocation_request.arguments)[0])
            content = MessageContentProto(invocation_response=InvocationResponseProto(value=value))
            target = MessageTargetProto(unicast_target=MessageTargetProtoUnicast(target=message.source))
            answer = MessageProto(message_id=message.message_id, source=_NODE, target=target, content=content)
            await stream.send_message(answer)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {_PATH: Handler(self.stream, Cardinality.STREAM_STREAM, MessageProto, MessageProto)}


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    async with serving(_Echo()) as address:
        yield address


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Connection, None]:
    host, _, port = address.rpartition(":")
    async with Channel(host, int(port)) as channel:
        method = StreamStreamMethod(channel, _PATH, MessageProto, MessageProto)
        async with method.open() as call:
            await call.send_request()
            asked: dict[int, asyncio.Future[str]] = {}
            number = 0

            async def read() -> None:
                async for message in call:
                    assert message.content is not None
                    assert message.content.invocation_response is not None
                    asked.pop(message.message_id).set_result(message.content.invocation_response.value)

            async def invoke(text: str) -> Any:
                nonlocal number
                number += 1
                answer = asked[number] = asyncio.get_running_loop().create_future()
                reference = AddressableReferenceProto("Parrot", KeyProto(int64_key=number % 64))
                request = InvocationRequestProto(reference=reference, method="echo", arguments=json.dumps([text]))
                target = MessageTargetProto(unicast_target=MessageTargetProtoUnicast(target=_NODE))
                content = MessageContentProto(invocation_request=request)
                await call.send_message(MessageProto(number, _CALLER, target, content))
                return json.loads(await answer)

            reader = asyncio.create_task(read())
            yield Connection(invoke, _no_stream)
            await call.end()
            await reader


def _no_stream() -> Any:
    raise LookupError("invocations are no stream of raw messages")
