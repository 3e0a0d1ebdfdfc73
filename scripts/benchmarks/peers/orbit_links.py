"""orbit_net: an actor node that invokes an actor of another one over a link, everything included."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from orbit_net.directory import StaticNodeResolver
from orbit_net.messaging import ActorNode, LinkSettings
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo
from orbit_net.server import Server

from ..echo import Connection

_NODE, _CALLER = NodeId("node"), NodeId("caller")


class _Parrot:
    def __init__(self, reference: Any) -> None:
        pass

    async def echo(self, text: str) -> str:
        return text


def _info(port: int) -> NodeInfo:
    return NodeInfo(_NODE, "127.0.0.1", port, NodeCapabilities(("Parrot",)))


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    node = ActorNode(_NODE, StaticNodeResolver([_info(1)], local=_NODE))
    node.register(_Parrot, name="Parrot")
    async with node, Server([node.service]) as server:
        addresses = await server.listen("127.0.0.1:0")
        yield addresses[0]
        server.close()


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Connection, None]:
    directory = StaticNodeResolver([_info(int(address.rpartition(":")[2]))], local=_CALLER)
    async with ActorNode(_CALLER, directory, settings=LinkSettings()) as node:
        refs = [node.ref("Parrot", number) for number in range(64)]
        turn = 0

        async def invoke(text: str) -> Any:
            nonlocal turn
            turn = (turn + 1) % 64
            return await refs[turn].invoke("echo", text)

        yield Connection(invoke, _no_stream)


def _no_stream() -> Any:
    raise LookupError("a link is no stream of raw messages")
