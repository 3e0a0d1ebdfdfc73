"""Operations of hedged calls are cancelled at every checkpoint that they have, and everything works on."""

import pytest

from checkpoints import at_every_checkpoint
from echo import Echo
from memory import in_memory
from settle import assert_no_leaks

pytestmark = [pytest.mark.anyio, pytest.mark.once]

# Three attempts sent together: there is more than one of everything at once.
HEDGED = {"methodConfig": [{"name": [{}], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0s"}}]}


@pytest.fixture(params=["warm", "cold"])
def every(request):
    """Run a scenario with a fresh server and channel for each cut: connected already, or not."""

    async def run(scenario, least=1):
        async def one(knife):
            async with in_memory(Echo(), service_config=HEDGED) as (server, channel, stub):
                if request.param == "warm":
                    await stub.unary(b"warm")
                await scenario(knife, stub)
                assert await stub.unary(b"after") == b"after"
                await assert_no_leaks(server, channel)
                assert channel.retrying.budget.used == 0
                assert not channel.retrying._delays

        return await at_every_checkpoint(one, least=least)

    return run


async def finish(call, sent):
    """Use a call that was disturbed: another message goes there and back, and the call ends well."""
    await call.send_message(b"more")
    replies = [await call.recv_message() for _ in range(sent + 1)]
    assert replies[-1] == b"more"
    await call.end()
    assert await call.recv_message() is None


async def test_a_unary_call(every):
    """A call that is cancelled leaves nothing."""

    async def scenario(knife, stub):
        assert await knife(stub.unary, b"x") in (None, b"x")

    await every(scenario)


async def test_a_stream_of_replies(every):
    """So does one with many replies."""

    async def scenario(knife, stub):
        async def collect():
            async with stub.count(b"3") as replies:
                return [reply async for reply in replies]

        assert await knife(collect) in (None, [b"0", b"1", b"2"])

    await every(scenario)


async def test_send_message(every):
    """A message that was cancelled is sent once or not at all on each attempt, and the call goes on."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await knife(call.send_message, b"first")
            await finish(call, call._sent)

    await every(scenario, least=0)


async def test_send_more_than_is_kept(every):
    """The call goes on with one attempt."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_request()
            await knife(call.send_message, b"x" * 300_000)
            await finish(call, call._sent)

    await every(scenario)


async def test_recv_message(every):
    """No message is lost by a cancelled recv_message, and the attempts are decided."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await call.send_message(b"2")
            got = await knife(call.recv_message)
            expected = [b"1", b"2"] if got is None else [b"2"]
            assert [await call.recv_message() for _ in expected] == expected
            await finish(call, 0)

    await every(scenario)


async def test_recv_initial_metadata(every):
    """The headers of the winner are there for the next to ask."""

    async def scenario(knife, stub):
        async with stub.chat() as call:
            await call.send_message(b"1")
            await knife(call.recv_initial_metadata)
            await call.recv_initial_metadata()
            assert call.initial_metadata is not None
            await finish(call, 1)

    await every(scenario)


async def test_leaving(every):
    """Leaving a block whose status is due waits for it, or not."""

    async def scenario(knife, stub):
        async def block():
            async with stub.chat() as call:
                await call.send_message(b"1", end=True)

        await knife(block)

    await every(scenario)
