"""What a client does while it is measured."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter_ns
from typing import Any

import anyio

from .echo import Connection, Duplex

Drive = Callable[[Connection, Any, int], Awaitable[list[int]]]


class WrongEcho(Exception):
    """The peer answered with something else than it was sent; a measurement of that means nothing."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of a table: `drive` makes so many calls and returns their latencies.

    Latencies are in nanoseconds; there are none where one call's would mean nothing.
    """

    name: str
    title: str
    unit: str
    drive: Drive
    payload_bytes: int = 100
    make: Callable[[], Any] | None = None

    @property
    def payload(self) -> Any:
        """What is sent: bytes of every value in turn, so that a text encoding would show, or what ``make`` makes."""
        if self.make is not None:
            return self.make()
        return bytes(index % 256 for index in range(self.payload_bytes))


async def _unary(connection: Connection, payload: Any, calls: int, *, in_flight: int) -> list[int]:
    latencies: list[int] = []
    tickets = iter(range(calls))  # shared: each caller takes the next ticket, so all stay busy to the end
    call = connection.unary

    async def caller() -> None:
        for _ in tickets:
            start = perf_counter_ns()
            reply = await call(payload)
            latencies.append(perf_counter_ns() - start)
            if reply != payload:
                raise WrongEcho(f"sent {payload!r:.200}, got {reply!r:.200}")

    async with anyio.create_task_group() as tasks:
        for _ in range(in_flight):
            tasks.start_soon(caller)
    return latencies


async def _ping_pong(connection: Connection, payload: Any, calls: int) -> list[int]:
    latencies: list[int] = []
    async with connection.stream() as stream:
        send, receive = stream.send, stream.receive
        for _ in range(calls):
            start = perf_counter_ns()
            await send(payload)
            reply = await receive()
            latencies.append(perf_counter_ns() - start)
            if reply != payload:
                raise WrongEcho(f"sent {payload!r:.200}, got {reply!r:.200}")
        await stream.end()
        await receive()
    return latencies


async def _pipelined(connection: Connection, payload: Any, calls: int) -> list[int]:
    echoes = 0
    async with connection.stream() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(_send_all, stream, payload, calls)
        async for reply in stream.messages:
            echoes += 1
            if reply != payload:
                raise WrongEcho(f"sent {payload!r:.200}, got {reply!r:.200}")
    if echoes != calls:
        raise WrongEcho(f"sent {calls} messages, got {echoes}")
    return []


async def _send_all(stream: Duplex, payload: Any, calls: int) -> None:
    send = stream.send
    for _ in range(calls):
        await send(payload)
    await stream.end()


UNARY = Workload("unary", "unary, 64 in flight, one connection", "call", partial(_unary, in_flight=64))
PING_PONG = Workload("ping-pong", "ping-pong on one bidi stream", "round trip", _ping_pong)
PIPELINED = Workload("pipelined", "bidi stream, pipelined", "message", _pipelined)


def _text() -> bytes:
    """Return JSON of some variety: gzip makes about a fifth of it."""
    rows = [{"id": index, "name": f"player-{index * 7919 % 1000}", "score": index * 31 % 97} for index in range(200)]
    return json.dumps(rows).encode()


TEXT_UNARY = Workload(
    "text-unary",
    "unary, 16 in flight, 10 kB of JSON",
    "call",
    partial(_unary, in_flight=16),
    payload_bytes=len(_text()),
    make=_text,
)


def _actor_message() -> Any:
    from .codecs.rows import actor_message  # imported by the workers that need it, not by grpcio's

    return actor_message()


ACTOR_PING_PONG = replace(
    PING_PONG, name="actor-ping-pong", title="actor message, ping-pong", make=_actor_message, payload_bytes=106
)
ACTOR_PIPELINED = replace(
    PIPELINED, name="actor-pipelined", title="actor message, pipelined", make=_actor_message, payload_bytes=106
)


def _text() -> str:
    return "x" * 100


INVOCATION = replace(
    UNARY, name="invocation", title="actor invocation, 64 in flight, one link", unit="invocation", make=_text
)
