"""Our ChannelFor takes the place of grpclib's: the same arguments, and its stubs and services on it."""

import inspect

import grpclib.testing
import pytest

import orbit_net.testing

pytestmark = pytest.mark.anyio


def test_the_same_parameters_come_first():
    """The arguments of grpclib's class mean the same here; ours beyond them are by name only."""
    theirs = inspect.signature(grpclib.testing.ChannelFor).parameters
    ours = inspect.signature(orbit_net.testing.ChannelFor).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name in theirs:
        assert (ours[name].kind, ours[name].default) == (theirs[name].kind, theirs[name].default)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for name, parameter in ours.items() if name not in theirs)


async def test_services_and_stubs_of_grpclibs_plugin(plugin):
    """A test that was written for grpclib's runs on ours, but for the import."""

    async def say(self, stream):
        note = await stream.recv_message()
        await stream.send_message(plugin.Reply(text=note.text.upper()))

    methods = {**dict.fromkeys(("Count", "Sum", "Chat")), "Say": say}
    service = type("Relay", (plugin.RelayBase,), methods)()
    async with orbit_net.testing.ChannelFor([service]) as channel:
        stub = plugin.RelayStub(channel)
        assert (await stub.Say(plugin.Note(text="hello"))).text == "HELLO"


async def test_services_and_stubs_of_betterproto(relay):
    """So does one with betterproto's, of either version."""

    class Relay(relay.RelayBase):
        async def say(self, message):
            return relay.Reply(text=message.text.upper())

    async with orbit_net.testing.ChannelFor([Relay()]) as channel:
        assert (await relay.RelayStub(channel).say(relay.Note(text="hello"))).text == "HELLO"
