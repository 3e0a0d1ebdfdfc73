"""The actors of one node: activation, the mailbox, idleness, bounds, the end."""

import anyio
import pytest

from orbit_net.errors import ConfigurationError
from orbit_net.messaging import ActorServer, ActorSettings
from orbit_net.model import AddressableReference, Failure, Invocation, InvocationFailure, InvocationValue, StringKey
from settle import until

pytestmark = pytest.mark.anyio


class Asking:
    """Keeps the answer."""

    def __init__(self):
        self.wanted = True
        self.content = None

    def answer(self, content, source=None):
        assert self.content is None, "one answer"
        self.content = content


class Diary:
    """Writes down its life; ``gate`` holds ``slow`` and ``on_deactivate``."""

    def __init__(self, reference):
        self.reference = reference
        self.seen = []

    async def on_activate(self):
        EVENTS.append("activate")
        if self.reference.key == StringKey("broken"):
            raise RuntimeError("no database")

    async def on_deactivate(self):
        EVENTS.append("deactivate")

    async def note(self, word="x"):
        EVENTS.append(word)
        return word

    async def slow(self):
        EVENTS.append("slow")
        await GATE[0].wait()
        return "done"


EVENTS, GATE = [], []


def ask(actors, method="note", key="1", arguments="[]"):
    """Submit an invocation and return who asks."""
    asking = Asking()
    actors.submit(Invocation(AddressableReference("Diary", StringKey(key)), method, arguments), asking)
    return asking


@pytest.fixture
async def actors():
    EVENTS.clear()
    GATE[:] = [anyio.Event()]
    async with ActorServer(settings=ActorSettings(max_actors=3, max_mailbox=4)) as server:
        server.register(Diary)
        yield server


async def test_an_actor_lives_from_its_first_invocation_on(actors):
    """It is activated once, runs what comes in order, and is deactivated when it is told to."""
    asked = [ask(actors, arguments=f'["{word}"]') for word in "abc"]
    await until(lambda: asked[-1].content)
    assert [asking.content for asking in asked] == [InvocationValue(f'"{word}"') for word in "abc"]
    await actors.drain()
    assert EVENTS == ["activate", "a", "b", "c", "deactivate"]
    assert actors.active == ()


async def test_actors_run_side_by_side_and_each_one_thing_at_a_time(actors):
    """A slow method holds up its own actor alone."""
    slow, after = ask(actors, "slow"), ask(actors)
    other = ask(actors, key="2")
    await until(lambda: other.content)
    assert (slow.content, after.content) == (None, None)
    GATE[0].set()
    await until(lambda: after.content)
    assert slow.content == InvocationValue('"done"')


async def test_what_came_while_an_actor_was_closing_activates_it_again(actors):
    """Nothing is lost between two lives, and they do not overlap."""
    ask(actors, "slow")
    await until(lambda: "slow" in EVENTS)
    actors.deactivate(slow_reference())
    late = ask(actors, arguments='["late"]')
    GATE[0].set()
    await until(lambda: late.content)
    assert EVENTS == ["activate", "slow", "deactivate", "activate", "late"]


def slow_reference():
    """The actor that :func:`ask` means."""
    return AddressableReference("Diary", StringKey("1"))


async def test_what_there_is_no_room_for_is_refused(actors):
    """A full mailbox and too many actors answer Failure: nothing reached an actor, so it may be repeated."""
    ask(actors, "slow")
    await until(lambda: "slow" in EVENTS)
    asked = [ask(actors) for _ in range(5)]
    assert [isinstance(asking.content, Failure) for asking in asked] == [False] * 4 + [True]
    others = [ask(actors, key=key) for key in "234"]
    assert [isinstance(asking.content, Failure) for asking in others] == [False, False, True]
    GATE[0].set()


async def test_an_invocation_that_nobody_waits_for_does_not_begin(actors):
    """One that has begun runs to its end."""
    slow, gone = ask(actors, "slow"), ask(actors, arguments='["gone"]')
    await until(lambda: "slow" in EVENTS)
    slow.wanted = gone.wanted = False
    GATE[0].set()
    last = ask(actors, arguments='["last"]')
    await until(lambda: last.content)
    assert "gone" not in EVENTS
    assert slow.content == InvocationValue('"done"')


async def test_an_actor_that_cannot_be_activated_answers_why(actors):
    """And is tried again with the next invocation."""
    for _ in range(2):
        broken = ask(actors, key="broken")
        await until(lambda broken=broken: broken.content)
        assert isinstance(broken.content, InvocationFailure)
        assert "RuntimeError" in broken.content.description
        await until(lambda: not actors.active)
    assert EVENTS == ["activate", "activate"]


async def test_a_quiet_actor_is_deactivated():
    """After the idle time, and activated again when it is needed."""
    EVENTS.clear()
    async with ActorServer(settings=ActorSettings(idle=0.02)) as actors:
        actors.register(Diary)
        for _ in range(2):
            asking = ask(actors)
            await until(lambda asking=asking: asking.content)
            await until(lambda: not actors.active)
    assert EVENTS == ["activate", "x", "deactivate"] * 2


async def test_the_end_of_the_node_answers_everything():
    """A method that runs is cancelled, what waits is not begun, and both are told."""
    EVENTS.clear()
    GATE[:] = [anyio.Event()]
    async with ActorServer() as actors:
        actors.register(Diary)
        slow, waits = ask(actors, "slow"), ask(actors)
        await until(lambda: "slow" in EVENTS)
    assert isinstance(slow.content, InvocationFailure)
    assert isinstance(waits.content, Failure)


class Mixed:
    """A class with a plain method."""

    def plain(self):
        """Not async."""


class Empty:
    """A class without methods."""


@pytest.mark.parametrize("actor_class", [Mixed, Empty])
async def test_a_class_that_is_no_actor_is_refused(actor_class):
    """Public methods are async, and there is one at least."""
    with pytest.raises(ConfigurationError):
        ActorServer().register(actor_class)


async def test_a_type_is_registered_once(actors):
    """The second one is refused; under another name, with a factory, it is taken."""
    with pytest.raises(ConfigurationError, match="already"):
        actors.register(Diary)
    actors.register(Diary, name="Journal", factory=Diary)
    assert actors.addressable_types == ("Diary", "Journal")


@pytest.mark.parametrize("setting", ["idle", "max_actors", "max_mailbox", "deactivation"])
async def test_settings_are_checked(setting):
    """Nothing is zero."""
    with pytest.raises(ConfigurationError, match=setting):
        ActorSettings(**{setting: 0})
