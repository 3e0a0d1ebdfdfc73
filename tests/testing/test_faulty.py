"""Streams that break, end or stand still at a chosen byte."""

import anyio
import pytest

from echo import Echo, EchoStub, RawCodec
from orbit_net.errors import ConfigurationError, RpcError
from orbit_net.status import Status
from orbit_net.testing import Break, ChannelFor, End, FaultyStream, Pause, memory_pair
from settle import turns

pytestmark = pytest.mark.anyio


async def _all(stream):
    """Return all that can be received, and what ended it."""
    data = b""
    while True:
        try:
            data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            return data, type(error)


@pytest.fixture
async def pair():
    """``pair(**faults)`` gives a faulty stream and the other end of it."""
    open_streams = []

    def make(**faults):
        ours, theirs = memory_pair()
        faulty = FaultyStream(ours, **faults)
        open_streams.extend((faulty, theirs))
        return faulty, theirs

    yield make
    for stream in open_streams:
        await stream.aclose()


@pytest.mark.parametrize("at", [0, 1, 5, 6, 9])
async def test_sending_breaks_at_a_byte(pair, at):
    """The bytes before it arrive, however they were cut; then both ends have lost the connection."""
    stream, other = pair(send=[Break(at)])
    with pytest.raises(anyio.BrokenResourceError):
        for item in (b"abcdef", b"ghi", b"j"):
            await stream.send(item)
    assert stream.sent == at
    assert await _all(other) == (b"abcdefghij"[:at], anyio.EndOfStream)


@pytest.mark.parametrize("at", [0, 1, 5, 6, 9])
@pytest.mark.parametrize(("fault", "error"), [(Break, anyio.BrokenResourceError), (End, anyio.EndOfStream)])
async def test_receiving_ends_at_a_byte(pair, at, fault, error):
    """The bytes before it are received, and then the end, broken or in good order; nothing has to follow for that."""
    stream, other = pair(receive=[fault(at)])
    await other.send(b"abcdef")
    await other.send(b"ghi")
    assert await _all(stream) == (b"abcdefghi"[:at], error)
    assert stream.received == at


async def test_an_end_stays_the_end(pair):
    """After the end nothing is received, and what is sent after an end is swallowed."""
    stream, other = pair(receive=[End(1)], send=[End(2)])
    await other.send(b"abc")
    assert await stream.receive() == b"a"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    await stream.send(b"xyz")
    await stream.send(b"more")
    await stream.send_eof()
    assert await _all(other) == (b"xy", anyio.EndOfStream)


async def test_a_pause_holds_back_what_follows(pair):
    """Until the event is set nothing passes, then everything does."""
    gates = [anyio.Event(), anyio.Event()]
    stream, other = pair(send=[Pause(2, until=gates[0])], receive=[Pause(1, until=gates[1])])
    received = []

    async def receive():
        received.append(await stream.receive())
        received.append(await stream.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, b"abcd")
        await turns(20)
        assert (stream.sent, await other.receive()) == (2, b"ab")
        gates[0].set()
        assert await other.receive() == b"cd"
        await other.send(b"xyz")
        tasks.start_soon(receive)
        await turns(20)
        assert received == [b"x"]
        gates[1].set()
    assert received == [b"x", b"yz"]


async def test_a_cancelled_pause_is_over(pair):
    """A receive that is cancelled inside a pause loses no byte."""
    stream, other = pair(receive=[Pause(1, until=anyio.Event())])
    await other.send(b"abc")
    assert await stream.receive() == b"a"
    with anyio.move_on_after(0.01) as scope:
        await stream.receive()
    assert scope.cancelled_caught
    assert await stream.receive() == b"bc"


async def test_faults_come_in_the_order_of_their_bytes(pair):
    """Several faults of one direction happen one after the other."""
    stream, other = pair(receive=[End(4), Pause(2), Pause(0)])
    assert repr(stream) == "<FaultyStream 0 bytes sent, 0 received, 3 faults to come>"
    await other.send(b"abcdef")
    assert [await stream.receive(), await stream.receive()] == [b"ab", b"cd"]
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()


async def test_pieces(pair):
    """What is received comes in pieces of a size, whatever was sent."""
    stream, other = pair(pieces=2)
    await other.send(b"abc")
    await other.send(b"d")
    assert [await stream.receive() for _ in range(3)] == [b"ab", b"c", b"d"]


@pytest.mark.parametrize("at", range(0, 400, 7))
async def test_no_call_hangs_wherever_the_connection_breaks(at):
    """Whatever byte the server's last one is, the calls end, with an answer or as UNAVAILABLE."""

    def wrap(stream):
        return FaultyStream(stream, receive=[Break(at)], pieces=5)

    with anyio.fail_after(10):
        async with ChannelFor([Echo()], RawCodec(), wrap=wrap) as channel:
            stub = EchoStub(channel)
            for number in range(3):
                outcome = await _outcome(stub, b"%d" % number)
                assert outcome in (b"%d" % number, Status.UNAVAILABLE)


async def _outcome(stub, request):
    try:
        return await stub.unary(request)
    except RpcError as error:
        return error.status


def test_bad_faults():
    """Places before the first byte, and pieces of nothing, are refused."""
    with pytest.raises(ConfigurationError, match=r"Break\.at is -1"):
        Break(-1)
    with pytest.raises(ConfigurationError, match="pieces is 0"):
        FaultyStream(None, pieces=0)
