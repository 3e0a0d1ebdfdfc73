"""The node process: two health services, and two kinds of actors behind the connection service.

Prints the address that it listens on as its first line, and ends when it has drained.
"""

from __future__ import annotations

import json
import sys

import anyio

from orbit_net.errors import InvocationFailed
from orbit_net.health import GrpcHealthService, HealthRegistry, OrbitHealthService
from orbit_net.messaging import OrbitConnectionService
from orbit_net.model import NodeId
from orbit_net.proto.orbit.shared import InvocationRequestProto
from orbit_net.server import Server, stop_on_signals


class Actors:
    """A counter for each key, and a sleeper that notices when nobody waits for it any more."""

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._begun = 0
        self._abandoned = 0
        self._abandoning = anyio.Event()
        self.drain = anyio.Event()

    async def invoke(self, request: InvocationRequestProto) -> str:
        """Run one invocation and return its value as JSON."""
        kind = request.reference.addressable_type if request.reference else ""
        arguments = json.loads(request.arguments or "[]")
        match kind, request.method:
            case "Counter", "add":
                key = request.reference.key.string_key if request.reference and request.reference.key else ""
                self._counters[key or ""] = value = self._counters.get(key or "", 0) + arguments[0]
                return json.dumps(value)
            case "Sleeper", "sleep":
                await self._sleep(arguments[0])
                return json.dumps("slept well")
            case "Sleeper", "begun":
                return json.dumps(self._begun)
            case "Sleeper", "abandoned":
                while self._abandoned < arguments[0]:
                    await self._abandoning.wait()
                return json.dumps(self._abandoned)
            case "Operator", "drain":
                self.drain.set()
                return json.dumps("draining")
        raise InvocationFailed(f"no actor type {kind!r} with a method {request.method!r}")

    async def _sleep(self, seconds: float) -> None:
        self._begun += 1
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            self._abandoned += 1
            self._abandoning.set()
            self._abandoning = anyio.Event()
            raise


async def run() -> None:
    """Serve until an operator's invocation or a signal says that it is time to go."""
    registry = HealthRegistry()
    actors = Actors()
    services = [
        OrbitHealthService(registry),
        GrpcHealthService(registry),
        OrbitConnectionService(NodeId("demo-node"), actors.invoke),
    ]
    async with Server(services) as server, anyio.create_task_group() as tasks:
        [address] = await server.listen("127.0.0.1:0")
        print(address, flush=True)
        tasks.start_soon(stop_on_signals, server)
        await actors.drain.wait()
        registry.shut_down()
        await server.drain(grace=10)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(run, backend=sys.argv[1])
