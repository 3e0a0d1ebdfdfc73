"""Logging and default deadlines, on both sides."""

import logging

import anyio
import pytest
from grpclib.exceptions import GRPCError

from echo import Echo
from memory import in_memory
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.interceptors import CallLogging, DefaultDeadline
from orbit_net.server import current_call
from orbit_net.status import Status
from settle import assert_no_leaks

pytestmark = pytest.mark.anyio


class Moody(Echo):
    """Fails when it is told to."""

    async def unary(self, request):
        if request == b"fail":
            raise GRPCError(Status.DATA_LOSS, "two\nlines")
        return request


@pytest.mark.parametrize("side", ["client", "server"])
async def test_one_line_for_each_call(caplog, side):
    """Method, status and time; a failure louder and with its text quoted; no metadata and no message."""
    caplog.set_level(logging.DEBUG, "orbit_net.calls")
    given = {"interceptors" if side == "client" else "server_interceptors": [CallLogging()]}
    async with in_memory(Moody(), **given) as (server, channel, stub):
        await stub.unary(b"payload", metadata={"x-secret": "hush"})
        with pytest.raises(RpcError):
            await stub.unary(b"fail")
        assert [reply async for reply in stub.count(b"2")] == [b"0", b"1"]
        await assert_no_leaks(server, channel)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "orbit_net.calls"]
    assert [level for level, _ in lines] == ["INFO", "WARNING", "INFO"]
    assert lines[0][1].startswith("/test.Echo/Unary OK in ")
    assert lines[1][1].startswith("/test.Echo/Unary DATA_LOSS in ")
    assert lines[1][1].endswith(r"ms: 'two\nlines'")
    assert lines[2][1].startswith("/test.Echo/Count OK in ")
    assert "hush" not in caplog.text
    assert "payload" not in caplog.text


async def test_another_logger_and_other_levels(caplog):
    """The user chooses both."""
    mine = logging.getLogger("mine")
    caplog.set_level(logging.DEBUG, "mine")
    around = CallLogging(mine, level=logging.DEBUG, failure_level=logging.ERROR)
    assert repr(around) == "<CallLogging to 'mine'>"
    async with in_memory(Moody(), interceptors=[around]) as (_, _, stub):
        await stub.unary(b"x")
        with pytest.raises(RpcError):
            await stub.unary(b"fail")
    assert [record.levelname for record in caplog.records if record.name == "mine"] == ["DEBUG", "ERROR"]


class Timed(Echo):
    """Answers with the seconds that are left."""

    async def unary(self, request):
        deadline = current_call().deadline
        return b"none" if deadline is None else b"%d" % round(deadline.time_remaining())

    async def sum(self, requests):
        return await self.unary(b"")

    async def count(self, request):
        yield await self.unary(b"")


@pytest.mark.parametrize("side", ["client", "server"])
async def test_default_deadline(side):
    """For calls without one; methods may have their own, or none."""
    around = DefaultDeadline(600, methods={"/test.Echo/Sum": 300, "/test.Echo/Count": None})
    given = {"interceptors" if side == "client" else "server_interceptors": [around]}
    async with in_memory(Timed(), **given) as (_, _, stub):
        assert await stub.unary(b"") == b"600"
        assert await stub.unary(b"", timeout=900) == b"900"
        assert await stub.sum([]) == b"300"
        assert [reply async for reply in stub.count(b"")] == [b"none"]


@pytest.mark.parametrize("side", ["client", "server"])
async def test_default_deadline_fires(side):
    """DEADLINE_EXCEEDED for a handler that does not end."""

    class Waiting(Echo):
        async def unary(self, request):
            await anyio.sleep_forever()

    given = {"interceptors" if side == "client" else "server_interceptors": [DefaultDeadline(0.05)]}
    async with in_memory(Waiting(), **given) as (server, channel, stub):
        with pytest.raises(RpcError) as caught:
            await stub.unary(b"")
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        await assert_no_leaks(server, channel)


@pytest.mark.parametrize("arguments", [{"timeout": 0}, {"timeout": -1}, {"timeout": 1, "methods": {"/a": 0}}])
def test_bad_deadlines(arguments):
    """Zero and less are refused."""
    with pytest.raises(ConfigurationError, match="above 0 seconds"):
        DefaultDeadline(**arguments)


def test_repr():
    """It tells the settings."""
    assert repr(DefaultDeadline(2.5, methods={"/a": None})) == "<DefaultDeadline 2.5 s, 1 methods of their own>"
