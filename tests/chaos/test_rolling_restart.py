"""Servers go one after the other, each followed by its successor, and not one call of many callers is lost."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count

import anyio
import anyio.lowlevel
import pytest

from echo import Echo, EchoStub, RawCodec
from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError, ConnectError
from orbit_net.net import connect, parse_target
from orbit_net.server import Server
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

SERVERS, CHANNELS, CALLERS = 3, 4, 64
CALLS = 300
"""Calls that are answered between two restarts."""


class Counting(Echo):
    """Counts its calls; each takes some turns of the scheduler, so that many are open at any time."""

    def __init__(self):
        self.calls = 0

    async def unary(self, request):
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        self.calls += 1
        return request


def first_that_answers(targets, start):
    """Return a connector that tries the servers in turn, beginning with number ``start``."""

    async def connector():
        for number in range(len(targets)):
            try:
                return await connect(parse_target(targets[(start + number) % len(targets)]))
            except ConnectError as error:
                last = error
        raise last

    return connector


async def listen_again(server, address):
    """Listen on an address that another server may just be giving up."""
    while True:
        try:
            return await server.listen(address)
        except ConfigurationError:
            await anyio.lowlevel.checkpoint()


async def test_no_call_is_lost():
    """64 callers with default settings, three servers, each restarted once under load: every call has its answer."""
    numbers = count()
    total = running = 0
    over = False

    async def caller(stub):
        nonlocal total, running
        running += 1
        while not over:
            request = b"%d" % next(numbers)
            assert await stub.unary(request) == request
            total += 1
        running -= 1

    async def more():
        enough = total + CALLS
        await until(lambda: total >= enough)

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Server([Counting()], codec=RawCodec())) for _ in range(SERVERS)]
        targets = [(await server.listen("127.0.0.1:0"))[0] for server in servers]
        stubs = []
        for number in range(CHANNELS):
            connector = first_that_answers(targets, number)
            channel = Channel(f"restarted:{number + 1}", codec=RawCodec(), connector=connector)
            stubs.append(EchoStub(await stack.enter_async_context(channel)))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for number in range(CALLERS):
            tasks.start_soon(caller, stubs[number % CHANNELS])
        for server, target in zip(servers, targets, strict=True):
            await more()
            await server.drain(15)
            await listen_again(await stack.enter_async_context(Server([Counting()], codec=RawCodec())), target)
        await more()
        over = True
        await until(lambda: not running)
    assert total >= (SERVERS + 1) * CALLS
