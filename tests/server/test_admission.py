"""How many connections a server takes, and accepting when the system has nothing left (CVE-2023-4785)."""

import errno
import logging

import anyio
import pytest

from echo import Echo, EchoStub, RawCodec
from memory import memory_pair
from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError
from orbit_net.server import ConnectionLimits, Server, ServerSettings
from orbit_net.server.acceptor import Acceptor
from orbit_net.server.admission import Admission
from settle import connections_of, until

pytestmark = pytest.mark.anyio


def test_the_defaults():
    """1,000 in all, 256 of one address."""
    assert ServerSettings().connections == ConnectionLimits(total=1_000, per_peer=256)


@pytest.mark.parametrize("name", ["total", "per_peer"])
def test_limits_are_positive(name):
    """A server without connections is none."""
    with pytest.raises(ConfigurationError, match=f"{name} is 0"):
        ConnectionLimits(**{name: 0})


def test_counting():
    """Each address has its share, all together the total, and who leaves makes room."""
    admission = Admission(ConnectionLimits(total=4, per_peer=2))
    assert [admission.enter("a"), admission.enter("a"), admission.enter("b")] == [None, None, None]
    assert admission.enter("a") == "there are 2 connections from a already"
    assert admission.enter(None) is None
    assert admission.enter("c") == "there are 4 connections already"
    admission.leave("a")
    assert repr(admission) == "<Admission 3 open from 2 addresses, 0 refused>"
    assert admission.enter("a") is None
    for host in ("a", "a", "b", None):
        admission.leave(host)
    assert repr(admission) == "<Admission 0 open from 0 addresses, 0 refused>"


def test_refusals_are_logged_once_a_second():
    """With how many there were since."""
    admission = Admission(ConnectionLimits())
    assert [admission.to_log(now) for now in (5.0, 5.1, 5.9, 6.0, 6.5, 7.5)] == [1, 0, 0, 3, 0, 2]
    assert admission.refused == 6


async def test_one_too_many_is_closed_at_once(caplog):
    """The others are served on, and there is room again when one has gone."""
    settings = ServerSettings(connections=ConnectionLimits(per_peer=2))
    with caplog.at_level(logging.WARNING, "orbit_net.server"):
        async with Server([Echo()], codec=RawCodec(), settings=settings) as server:
            [target] = await server.listen("127.0.0.1:0")
            host, _, port = target.rpartition(":")
            async with Channel(target, codec=RawCodec()) as channel, await anyio.connect_tcp(host, int(port)):
                assert await EchoStub(channel).unary(b"x") == b"x"
                await until(lambda: len(connections_of(server)) == 2)
                for _ in range(3):
                    async with await anyio.connect_tcp(host, int(port)) as third:
                        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                            await third.receive()
                assert await EchoStub(channel).unary(b"y") == b"y"
            await until(lambda: not connections_of(server))
            async with Channel(target, codec=RawCodec()) as channel:
                assert await EchoStub(channel).unary(b"z") == b"z"
    assert "1 connections were refused: there are 2 connections from 127.0.0.1 already" in caplog.text
    assert caplog.text.count("refused") <= 2  # a slow machine may need more than a second


class Exhausted:
    """A listener whose accept fails with ``code`` a number of times, and then gives a connection.

    ``disguised``: it fails as anyio's does on trio.
    """

    def __init__(self, code, times, transport, *, disguised):
        self._disguised = disguised
        self.tries = 0
        self._code = code
        self._times = times
        self._transport = transport

    async def accept(self):
        self.tries += 1
        if self.tries <= self._times:
            error = OSError(self._code, "no more of it")
            if self._disguised:
                raise anyio.BrokenResourceError from error
            raise error
        if self._transport is None:
            await anyio.sleep_forever()
        transport, self._transport = self._transport, None
        return transport

    async def aclose(self):
        """Nothing is open."""


async def accepted(code, *, times, disguised):
    """Accept through ``times`` failures; return the time that took, in seconds."""
    ours, theirs = memory_pair()
    served = anyio.Event()

    async def serve(transport):
        assert transport is theirs
        served.set()

    acceptor = Acceptor(ServerSettings(), serve)
    listener = Exhausted(code, times, theirs, disguised=disguised)
    before = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        acceptor.start(tasks, listener)
        with anyio.fail_after(10):
            await served.wait()
        acceptor.stop()
    await ours.aclose()
    await theirs.aclose()
    assert listener.tries <= times + 2
    return anyio.current_time() - before


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("disguised", [False, True])
async def test_accepting_pauses_when_the_system_is_exhausted(code, disguised):
    """No busy loop: a tenth of a second between the tries; and it goes on when there is something again."""
    assert await accepted(code, times=3, disguised=disguised) >= 3 * 0.1


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO])
@pytest.mark.parametrize("disguised", [False, True])
async def test_accepting_does_not_pause_for_a_client_that_is_gone(code, disguised):
    """Else clients that leave at once would keep the others out."""
    assert await accepted(code, times=1_000, disguised=disguised) < 0.1 * 1_000
