"""``grpclib.events.listen`` works on our channel and server."""

from __future__ import annotations

from contextlib import asynccontextmanager

import grpclib
import pytest
from grpclib.const import Status
from grpclib.events import (
    RecvInitialMetadata,
    RecvMessage,
    RecvRequest,
    RecvTrailingMetadata,
    SendInitialMetadata,
    SendMessage,
    SendRequest,
    SendTrailingMetadata,
    listen,
)

from orbit_net.client import Channel
from orbit_net.server import Server

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected(plugin, handle=None):
    """Give ``(server, channel, stub)``; ``handle`` takes the stream of each unary call."""

    async def answer(stream):
        note = await stream.recv_message()
        await stream.send_message(plugin.Reply(text=note.text))

    class Relay(plugin.RelayBase):
        async def Say(self, stream):  # noqa: N802
            await (handle or answer)(stream)

        async def Chat(self, stream):  # noqa: N802
            async for note in stream:
                await stream.send_message(plugin.Reply(text=note.text))

        Count = Sum = Say

    async with Server([Relay()]) as server:
        [target] = await server.listen("127.0.0.1:0")
        async with Channel(target) as channel:
            yield server, channel, plugin.RelayStub(channel)


def record(target, *kinds):
    """Return a list that grows by each event of ``kinds`` on ``target``."""
    events = []

    async def take(event):
        events.append(event)

    for kind in kinds:
        listen(target, kind, take)
    return events


def names(events):
    """Return what happened, in order."""
    return [type(event).__name__ for event in events]


async def test_events_of_a_channel(plugin):
    """A unary call shows a channel's listeners its request, message, headers, reply and trailers, in this order."""
    async with connected(plugin) as (_, channel, stub):
        kinds = (SendRequest, SendMessage, RecvInitialMetadata, RecvMessage, RecvTrailingMetadata)
        events = record(channel, *kinds)
        await stub.Say(plugin.Note(text="a"), timeout=30, metadata={"key": "value"})
    assert names(events) == [kind.__name__ for kind in kinds]
    request, sent, _, received, trailers = events
    assert (request.method_name, request.content_type) == ("/relay.v1.Relay/Say", "application/grpc")
    assert request.metadata["key"] == "value"
    assert 0 < request.deadline.time_remaining() <= 30
    assert (sent.message.text, received.message.text) == ("a", "a")
    assert trailers.status is Status.OK


async def test_events_of_a_server(plugin):
    """A unary call shows a server's listeners its request, message, headers, reply and trailers, in this order."""
    async with connected(plugin) as (server, _, stub):
        kinds = (RecvRequest, RecvMessage, SendMessage, SendInitialMetadata, SendTrailingMetadata)
        events = record(server, *kinds)
        await stub.Say(plugin.Note(text="a"), timeout=30, metadata={"key": "value"})
    assert sorted(names(events)) == sorted(kind.__name__ for kind in kinds)
    by_kind = {type(event): event for event in events}
    assert (names(events)[0], names(events)[1], names(events)[-1]) == (
        "RecvRequest",
        "RecvMessage",
        "SendTrailingMetadata",
    )
    request = by_kind[RecvRequest]
    assert (request.method_name, request.metadata["key"]) == ("/relay.v1.Relay/Say", "value")
    assert request.content_type == "application/grpc"
    assert request.user_agent.startswith("grpc-python-orbit-net/")
    assert request.peer.addr()[0] == "127.0.0.1"
    assert 0 < request.deadline.time_remaining() <= 30
    assert by_kind[SendTrailingMetadata].status is Status.OK


async def test_every_message_of_a_stream(plugin):
    """Each message of a full-duplex call is one event on each side."""
    async with connected(plugin) as (server, channel, stub):
        there = record(server, RecvMessage, SendMessage)
        here = record(channel, SendMessage, RecvMessage)
        await stub.Chat([plugin.Note(text=text) for text in "abc"])
    assert sorted(names(there)) == sorted(names(here)) == ["RecvMessage"] * 3 + ["SendMessage"] * 3


@pytest.mark.parametrize("sent", ["raised", "sent"])
async def test_trailers_of_an_error(plugin, sent):
    """An error that a handler raises or sends is shown on both sides, and its trailing metadata may be changed."""

    async def fail(stream):
        await stream.recv_message()
        if sent == "raised":
            raise grpclib.GRPCError(Status.NOT_FOUND, "nobody", b"details")
        await stream.send_trailing_metadata(status=Status.NOT_FOUND, status_message="nobody", status_details=b"details")

    async def add(event):
        event.metadata["added"] = "yes"

    async with connected(plugin, fail) as (server, channel, stub):
        there = record(server, SendTrailingMetadata)
        listen(server, SendTrailingMetadata, add)
        here = record(channel, RecvTrailingMetadata)
        with pytest.raises(grpclib.GRPCError) as caught:
            await stub.Say(plugin.Note())
    assert caught.value.trailing_metadata["added"] == "yes"
    for [event] in (there, here):
        assert (event.status, event.status_message) == (Status.NOT_FOUND, "nobody")
        assert event.status_details == b"details"
    assert here[0].metadata["added"] == "yes"


async def test_trailers_of_a_failing_handler(plugin):
    """An exception of a handler is shown as the UNKNOWN that the client gets."""

    async def fail(stream):
        raise ValueError("secret")

    async with connected(plugin, fail) as (server, _, stub):
        events = record(server, SendTrailingMetadata)
        with pytest.raises(grpclib.GRPCError):
            await stub.Say(plugin.Note())
    [event] = events
    assert event.status is Status.UNKNOWN


async def test_listeners_change_what_is_sent(plugin):
    """Metadata and messages that a listener replaces are what the other side gets."""
    seen = {}

    async def answer(stream):
        seen.update(stream.metadata)
        note = await stream.recv_message()
        await stream.send_message(plugin.Reply(text=note.text))

    async def on_request(event):
        event.metadata["added"] = "request"
        event.metadata["added-bin"] = b"\xff"

    async def on_initial(event):
        event.metadata["added"] = "initial"

    async def on_trailing(event):
        event.metadata["added"] = "trailing"

    async def on_note(event):
        event.message = plugin.Note(text=event.message.text + "1")

    async def on_received_note(event):
        event.message = plugin.Note(text=event.message.text + "2")

    async def on_reply(event):
        event.message = plugin.Reply(text=event.message.text + "3")

    async def on_received_reply(event):
        event.message = plugin.Reply(text=event.message.text + "4")

    async with connected(plugin, answer) as (server, channel, stub):
        listen(channel, SendRequest, on_request)
        listen(channel, SendMessage, on_note)
        listen(channel, RecvMessage, on_received_reply)
        listen(server, RecvMessage, on_received_note)
        listen(server, SendMessage, on_reply)
        listen(server, SendInitialMetadata, on_initial)
        listen(server, SendTrailingMetadata, on_trailing)
        async with stub.Say.open() as stream:
            await stream.send_message(plugin.Note(text="0"), end=True)
            assert (await stream.recv_message()).text == "01234"
            await stream.recv_trailing_metadata()
            assert stream.initial_metadata["added"] == "initial"
            assert stream.trailing_metadata["added"] == "trailing"
    assert (seen["added"], seen["added-bin"]) == ("request", b"\xff")


async def test_listeners_change_received_metadata(plugin):
    """Metadata that a channel's listener changes is what the caller sees."""

    async def change(event):
        event.metadata["seen"] = type(event).__name__

    async with connected(plugin) as (_, channel, stub):
        listen(channel, RecvInitialMetadata, change)
        listen(channel, RecvTrailingMetadata, change)
        async with stub.Say.open() as stream:
            await stream.send_message(plugin.Note(), end=True)
            await stream.recv_message()
            await stream.recv_trailing_metadata()
            assert stream.initial_metadata["seen"] == "RecvInitialMetadata"
            assert stream.trailing_metadata["seen"] == "RecvTrailingMetadata"


async def test_listener_wraps_the_handler(plugin):
    """A listener of RecvRequest may replace the handler, and its metadata is what the handler sees."""
    seen = []

    async def answer(stream):
        seen.append(stream.metadata["added"])
        await stream.recv_message()
        await stream.send_message(plugin.Reply(text="inner"))

    async def wrap(event):
        inner = event.method_func
        event.metadata["added"] = "yes"

        async def outer(stream):
            seen.append("before")
            await inner(stream)
            seen.append("after")

        event.method_func = outer

    async with connected(plugin, answer) as (server, _, stub):
        listen(server, RecvRequest, wrap)
        assert (await stub.Say(plugin.Note())).text == "inner"
    assert seen == ["before", "yes", "after"]


async def test_listener_refuses_a_request(plugin):
    """A GRPCError raised by a listener of RecvRequest is the answer, and the handler does not run."""

    async def answer(stream):
        pytest.fail("the handler must not run")

    async def refuse(event):
        raise grpclib.GRPCError(Status.UNAUTHENTICATED, "who are you?")

    async with connected(plugin, answer) as (server, _, stub):
        listen(server, RecvRequest, refuse)
        with pytest.raises(grpclib.GRPCError) as caught:
            await stub.Say(plugin.Note())
    assert (caught.value.status, caught.value.message) == (Status.UNAUTHENTICATED, "who are you?")


async def test_interrupted_event(plugin):
    """A listener that interrupts an event hides it from the listeners after it."""

    async def interrupt(event):
        event.interrupt()

    async with connected(plugin) as (_, channel, stub):
        listen(channel, SendRequest, interrupt)
        events = record(channel, SendRequest)
        await stub.Say(plugin.Note())
    assert events == []
