"""Targets and their resolvers, when they are asked, and what becomes of their answers."""

from random import Random

import anyio
import pytest
from grpclib.exceptions import GRPCError

from echo import EchoStub, RawCodec
from fleet import FAST, ready, servers_only
from orbit_net.client import (
    BackoffPolicy,
    Channel,
    Connectivity,
    MethodConfig,
    NodesResolver,
    PickFirst,
    Resolution,
    ResolvedEndpoint,
    ResolveSettings,
    RingHash,
    RoundRobin,
    ServiceConfig,
    register_resolver,
    unregister_resolver,
)
from orbit_net.client.resolve import DnsResolver, FixedResolver, resolver_for
from orbit_net.client.resolve.resolving import resolver_error
from orbit_net.client.resolve.schedule import ResolveSchedule
from orbit_net.client.subchannel import Subchannel
from orbit_net.directory import StaticNodeResolver
from orbit_net.errors import ConfigurationError, ConnectError, RpcError
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo, NodeStatus
from orbit_net.net import TcpAddress, UnixAddress, parse_target
from orbit_net.status import Status
from settle import until

pytestmark = pytest.mark.anyio

OFTEN = ResolveSettings(minimum_interval=0.0, backoff=BackoffPolicy(initial=0.01, maximum=0.02))


class Scripted:
    """Gives what it is told to, or raises it; ``change`` pushes."""

    authority = "scripted"

    def __init__(self, *targets):
        self.answer = targets
        self.config = None
        self.asked = 0
        self.watched = 0
        self._changed = None

    async def resolve(self):
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        endpoints = [ResolvedEndpoint(addresses=(parse_target(target),)) for target in self.answer]
        return Resolution(endpoints=endpoints, service_config=self.config)

    def watch(self, changed):
        self._changed = changed
        self.watched += 1

        def stop():
            self.watched -= 1

        return stop

    def change(self, *targets):
        """Give other targets from now on, and say so."""
        self.answer = targets
        self._changed()


# --- targets -----------------------------------------------------------------------------------------


def addresses(target):
    """Return what a fixed target gives."""
    return [(*endpoint.addresses, endpoint.weight) for endpoint in resolver_for(target).endpoints]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:1", [(TcpAddress("127.0.0.1", 1), 1)]),
        ("dns:///[::1]:2", [(TcpAddress("::1", 2), 1)]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", [(TcpAddress("10.0.0.1", 1), 1), (TcpAddress("10.0.0.2", 2), 1)]),
        ("ipv6:[::1]:1, [::2]:2", [(TcpAddress("::1", 1), 1), (TcpAddress("::2", 2), 1)]),
        ("unix:/run/a", [(UnixAddress("/run/a"), 1)]),
        ("unix-abstract:a", [(UnixAddress("\0a"), 1)]),
        ("static:a:1,b:2;weight=3", [(TcpAddress("a", 1), 1), (TcpAddress("b", 2), 3)]),
        ("static:///a:1,unix:/run/a;weight=0.5", [(TcpAddress("a", 1), 1), (UnixAddress("/run/a"), 0.5)]),
        ("http://10.0.0.1", [(TcpAddress("10.0.0.1", 80), 1)]),
    ],
)
def test_targets_that_are_addresses(target, expected):
    """Nobody need be asked for these."""
    assert addresses(target) == expected
    assert resolver_for(target).authority == expected[0][0].authority


@pytest.mark.parametrize("target", ["host:1", "dns:///host:1", "dns:host:1", "http://host:1", "https://host:1"])
def test_targets_that_are_names(target):
    """The system is asked for these."""
    resolver = resolver_for(target)
    assert isinstance(resolver, DnsResolver)
    assert (resolver.address, resolver.authority) == (TcpAddress("host", 1), "host:1")
    assert repr(resolver) == "<DnsResolver of host:1>"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("static:", "lists an address that is empty"),
        ("static:a:1,", "lists an address that is empty"),
        ("ipv4:10.0.0.1:1,10.0.0.1:1", "lists an address twice"),
        ("ipv4:10.0.0.1:1,host:1", "does not hold an IPv4 address"),
        ("static:a:1;weight=0", "has the option 'weight=0'; allowed: weight=NUMBER above 0"),
        ("static:a:1;wait=3", "has the option 'wait=3'"),
        ("static:a:1;weight=nan", "has the option 'weight=nan'"),
        ("static:a", "the target 'static:a': the target 'a' is not one of"),
        ("nobody://a:1", "unknown scheme"),
    ],
)
def test_bad_targets(target, text):
    """The error names the target and what is wrong; a channel raises it before any I/O."""
    with pytest.raises(ConfigurationError, match=text):
        Channel(target)


async def test_dns_gives_all_addresses_of_a_name():
    """Each is an endpoint, whose certificate must be for the name."""
    resolution = await DnsResolver(TcpAddress("localhost", 5)).resolve()
    assert TcpAddress("127.0.0.1", 5) in [endpoint.addresses[0] for endpoint in resolution.endpoints]
    assert {endpoint.server_name for endpoint in resolution.endpoints} == {"localhost"}
    with pytest.raises(ConnectError, match=r"cannot connect to host\.invalid:1: "):
        await DnsResolver(TcpAddress("host.invalid", 1)).resolve()


async def test_a_name_with_a_policy():
    """A name is balanced over its addresses when a policy asks for that."""
    async with servers_only(1) as servers:
        port = servers.targets[0].rpartition(":")[2]
        async with Channel(f"dns:///localhost:{port}", codec=RawCodec(), balancing=RoundRobin()) as channel:
            assert await EchoStub(channel).having(wait_for_ready=True, timeout=10).unary(b"x") == b"0"
            assert f"127.0.0.1:{port} ready" in repr(channel)


async def test_schemes_of_users():
    """A factory makes the resolver of a target; what is built in or there already cannot be taken."""
    async with servers_only(2) as servers:
        register_resolver("mine", lambda target: Scripted(*servers.targets) if target == "mine:shop" else None)
        try:
            for scheme, text in (("dns", "already"), ("mine", "already"), ("My", "lower-case"), ("", "lower-case")):
                with pytest.raises(ConfigurationError, match=text):
                    register_resolver(scheme, Scripted)
            async with Channel("mine:shop", codec=RawCodec(), balancing=RoundRobin()) as channel:
                assert channel._authority == b"scripted"
                await EchoStub(channel).unary(b"x")
                await until(lambda: ready(channel) == 2)
        finally:
            unregister_resolver("mine")
        with pytest.raises(ConfigurationError):
            Channel("mine:shop")


def test_contradictions():
    """A connector leaves nothing to resolve."""
    with pytest.raises(ConfigurationError, match="a connector leaves nothing to resolve"):
        Channel("a:1", connector=lambda: None, resolver=Scripted())
    with pytest.raises(ConfigurationError, match=r"ResolvedEndpoint\.addresses is empty"):
        ResolvedEndpoint(addresses=())
    with pytest.raises(ConfigurationError, match=r"ResolvedEndpoint\.weight is 0"):
        ResolvedEndpoint(addresses=(TcpAddress("a", 1),), weight=0)


# --- when --------------------------------------------------------------------------------------------


def test_the_schedule():
    """At once; then not within 30 s whoever wants it; after a failure not before the backoff is over."""
    schedule, random = ResolveSchedule(ResolveSettings()), Random(1)
    assert schedule.due == -float("inf")
    schedule.succeeded(100.0)
    assert schedule.due == float("inf")
    schedule.wanted()
    assert schedule.due == 130.0
    schedule.failed(130.0, random)
    assert 130.8 <= schedule.due <= 131.2
    due = schedule.due
    schedule.wanted()
    assert schedule.due == due
    schedule.failed(due, random)
    assert 1.28 <= schedule.due - due <= 1.92
    schedule.pushed()
    assert schedule.due == -float("inf"), "what a resolver pushes does not wait"
    schedule.succeeded(200.0)
    schedule.failed(300.0, random)
    assert schedule.due <= 301.2, "a success ends the backoff"


def test_the_schedule_with_an_interval():
    """Without a reason every so often."""
    schedule = ResolveSchedule(ResolveSettings(interval=60.0))
    schedule.succeeded(100.0)
    assert schedule.due == 160.0
    schedule.wanted()
    assert schedule.due == 130.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"minimum_interval": -1}, "minimum_interval is -1"),
        ({"interval": 20.0}, "interval is 20.0; it must be at least minimum_interval"),
    ],
)
def test_bad_intervals(options, text):
    """The error names what, the value, and what is allowed."""
    with pytest.raises(ConfigurationError, match=text):
        ResolveSettings(**options)


# --- what becomes of it ------------------------------------------------------------------------------


async def test_nobody_is_asked_before_the_first_call():
    """A channel that makes no call resolves nothing; ``connect`` is as good as a call."""
    resolver = Scripted("127.0.0.1:1")
    async with Channel("x", resolver=resolver, codec=RawCodec(), balancing=RoundRobin()) as channel:
        await until(lambda: resolver.watched == 1)
        assert (resolver.asked, channel.state) == (0, Connectivity.IDLE)
        channel.connect()
        assert channel.state is Connectivity.CONNECTING
        await until(lambda: resolver.asked == 1)
    assert resolver.watched == 0


async def test_updates_that_are_pushed():
    """Servers come and go; those that stay keep their connections, and no call is lost."""
    async with servers_only(3) as servers:
        a, b, c = servers.targets
        resolver = Scripted(a, b)
        async with Channel("x", resolver=resolver, codec=RawCodec(), settings=FAST, balancing=RoundRobin()) as channel:
            stub = EchoStub(channel, timeout=10)
            await stub.unary(b"x")
            await until(lambda: ready(channel) == 2)
            kept = channel.line.subchannels[1]
            async with stub.chat() as call:  # on the one that leaves or the one that stays
                await call.send_message(b"1")
                assert await call.recv_message() == b"1"
                async with stub.chat() as other:
                    await other.send_message(b"2")
                    assert await other.recv_message() == b"2"
                    resolver.change(b, c, c)
                    await until(lambda: channel.line.subchannels[0] is kept and ready(channel) == 2)
                    assert len(channel.line.subchannels) == 2
                    assert {await stub.unary(b"x") for _ in range(4)} == {b"1", b"2"}
                    for open_call in (call, other):
                        await open_call.send_message(b"still")
                        assert await open_call.recv_message() == b"still"
            resolver.change()
            await until(lambda: channel.state is Connectivity.TRANSIENT_FAILURE)
            with pytest.raises(RpcError, match="x has no address"):
                await stub.unary(b"x")
            resolver.change(a)
            await until(lambda: ready(channel) == 1)
            assert await stub.unary(b"x") == b"0"


async def test_a_server_that_leaves_a_ring():
    """Its keys move to others, and no other key does."""
    async with servers_only(5) as servers:
        resolver = Scripted(*servers.targets)
        async with Channel("x", resolver=resolver, codec=RawCodec(), balancing=RingHash()) as channel:
            stub = EchoStub(channel, timeout=10)

            async def homes():
                return [int(await stub.having(hash_key=f"user-{n}").unary(b"x")) for n in range(80)]

            before = await homes()
            assert set(before) == set(range(5))
            resolver.change(*servers.targets[1:])
            await until(lambda: len(channel.line.subchannels) == 4)
            after = await homes()
            assert {old for old, new in zip(before, after, strict=True) if old != new} == {0}
            resolver.change(*reversed(servers.targets))
            await until(lambda: len(channel.line.subchannels) == 5)
            assert await homes() == before


async def test_a_server_that_leaves_closes_after_its_last_call():
    """Its connection ends when the calls on it have."""
    async with servers_only(2) as servers:
        resolver = Scripted(servers.targets[0])
        async with Channel("x", resolver=resolver, codec=RawCodec(), balancing=RoundRobin()) as channel:
            stub = EchoStub(channel, timeout=10)
            async with stub.chat() as call:
                await call.send_message(b"1")
                assert await call.recv_message() == b"1"
                leaving = channel.line.subchannels[0]
                resolver.change(servers.targets[1])
                await until(lambda: leaving.state is Connectivity.SHUTDOWN)
                assert leaving.streams == 1
            await until(lambda: not leaving._connections)
            assert await stub.unary(b"x") == b"1"


async def test_pick_first_keeps_its_address():
    """An update that has it does not break the connection; one without it does, gently."""
    async with servers_only(3) as servers:
        a, b, c = servers.targets
        resolver = Scripted(a, b)
        async with Channel("x", resolver=resolver, codec=RawCodec(), settings=FAST) as channel:
            stub = EchoStub(channel, timeout=10)
            assert await stub.unary(b"x") == b"0"
            connection = channel.subchannel.connection
            resolver.change(c, a)
            await until(lambda: resolver.asked == 2)
            assert await stub.unary(b"x") == b"0"
            assert channel.subchannel.connection is connection
            resolver.change(c, b)
            await until(lambda: resolver.asked == 3)
            assert await stub.unary(b"x") == b"2"


async def test_a_resolver_that_fails():
    """Calls fail with its reason or wait; it is asked again; later failures do not matter to what is known."""
    async with servers_only(1) as servers:
        resolver = Scripted()
        resolver.answer = OSError("no route to the name server")
        options = {"resolver": resolver, "resolve": OFTEN, "codec": RawCodec(), "settings": FAST}
        async with Channel("x", balancing=RoundRobin(), **options) as channel:
            stub = EchoStub(channel, timeout=10)
            with pytest.raises(RpcError, match=r"cannot resolve x: OSError.*no route") as raised:
                await stub.unary(b"x")
            assert raised.value.status is Status.UNAVAILABLE
            assert channel.state is Connectivity.TRANSIENT_FAILURE
            assert "no route" in repr(channel)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stub.having(wait_for_ready=True).unary, b"x")
                await until(lambda: resolver.asked > 3)
                resolver.answer = tuple(servers.targets)
            assert await stub.unary(b"x") == b"0"
            resolver.answer = OSError("gone again")
            resolver._changed()
            await until(lambda: channel.line.error is not None)
            assert await stub.unary(b"x") == b"0"
            assert channel.state is Connectivity.READY


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PERMISSION_DENIED, Status.PERMISSION_DENIED),
        (Status.UNAUTHENTICATED, Status.UNAUTHENTICATED),
        (Status.NOT_FOUND, Status.INTERNAL),
        (Status.INVALID_ARGUMENT, Status.INTERNAL),
        (Status.DATA_LOSS, Status.INTERNAL),
        (Status.OK, Status.INTERNAL),
    ],
)
async def test_the_status_of_a_resolver(status, expected):
    """gRFC A54: what only applications may say becomes INTERNAL."""
    resolver = Scripted()
    resolver.answer = GRPCError(status, "because")
    async with Channel("x", resolver=resolver, codec=RawCodec(), balancing=RoundRobin()) as channel:
        with pytest.raises(RpcError, match=r"cannot resolve x: .*because") as raised:
            await EchoStub(channel, timeout=10).unary(b"x")
    assert raised.value.status is expected
    assert isinstance(resolver_error("x", ValueError()), ConnectError)


async def test_a_lost_server_makes_the_channel_look_again():
    """The resolver is asked when a connection is lost, and says where the server is now."""
    async with servers_only(2) as servers:
        resolver = Scripted(servers.targets[0])
        options = {"resolver": resolver, "codec": RawCodec(), "settings": FAST, "resolve": OFTEN}
        async with Channel("x", balancing=RoundRobin(), **options) as channel:
            stub = EchoStub(channel, timeout=10, wait_for_ready=True)
            assert await stub.unary(b"x") == b"0"
            asked = resolver.asked
            resolver.answer = (servers.targets[1],)
            await servers.stop(0)
            assert await stub.unary(b"x") == b"1"
            assert resolver.asked > asked


async def test_a_resolver_whose_watch_fails(caplog):
    """The channel works by asking; the log says why nothing is pushed."""

    class Unwatchable(Scripted):
        def watch(self, changed):
            raise OSError("no watches left")

    class Unstoppable(Scripted):
        def watch(self, changed):
            def stop():
                raise OSError("it goes on")

            return stop

    async with servers_only(1) as servers:
        for kind in (Unwatchable, Unstoppable):
            resolver = kind(*servers.targets)
            async with Channel("x", resolver=resolver, codec=RawCodec(), balancing=RoundRobin()) as channel:
                assert await EchoStub(channel, timeout=10).unary(b"x") == b"0"
    assert "no watches left" in caplog.text
    assert "it goes on" in caplog.text


async def test_the_interval():
    """The resolver is asked without a reason when it is time."""
    resolver = Scripted("127.0.0.1:1")
    resolve = ResolveSettings(minimum_interval=0.0, interval=0.05)
    async with Channel("x", resolver=resolver, resolve=resolve, balancing=RingHash()) as channel:
        channel.connect()
        await until(lambda: resolver.asked >= 3)


async def test_a_service_config_of_the_resolver():
    """It replaces that of the channel, policy and methods, and without one the channel's own counts again."""
    async with servers_only(2) as servers:
        resolver = Scripted(*servers.targets)
        own = ServiceConfig(methods=(MethodConfig(timeout=7.0),))
        async with Channel("x", resolver=resolver, codec=RawCodec(), service_config=own, settings=FAST) as channel:
            stub = EchoStub(channel)
            assert await stub.unary(b"x") == b"0"
            assert channel.line.policy.name == "pick_first"
            resolver.config = ServiceConfig(balancing=RoundRobin(), methods=(MethodConfig(timeout=9.0),))
            resolver.change(*servers.targets)
            await until(lambda: ready(channel) == 2)
            assert {await stub.unary(b"x") for _ in range(4)} == {b"0", b"1"}
            assert channel._method("/test.Echo/Unary", None).timeout == 9.0
            resolver.config = None
            resolver.change(*servers.targets)
            await until(lambda: channel.line.policy.name == "pick_first")
            assert channel._method("/test.Echo/Unary", None).timeout == 7.0
            assert await stub.unary(b"x") == b"0"


async def test_the_policy_of_the_channel_counts_most():
    """``balancing`` of the channel stays, whatever the resolver's config says."""
    resolver = Scripted("127.0.0.1:1")
    resolver.config = ServiceConfig(balancing=RoundRobin())
    async with Channel("x", resolver=resolver, balancing=PickFirst()) as channel:
        channel.connect()
        await until(lambda: resolver.asked == 1)
        assert channel.line.policy.name == "pick_first"


# --- the nodes of a directory ------------------------------------------------------------------------


def node(number, target, **options):
    """Return a node that runs at a target."""
    host, _, port = target.rpartition(":")
    return NodeInfo(NodeId(f"node-{number}"), host, int(port), **options)


async def test_the_nodes_of_a_directory():
    """Nodes that join are used at once, those that drain are not used any more."""
    async with servers_only(3) as servers:
        nodes = [node(number, target) for number, target in enumerate(servers.targets)]
        directory = StaticNodeResolver(nodes[:2])
        resolver = NodesResolver(directory)
        options = {"codec": RawCodec(), "settings": FAST, "balancing": RoundRobin()}
        async with Channel("orbit", resolver=resolver, **options) as channel:
            stub = EchoStub(channel, timeout=10)
            await stub.unary(b"x")
            await until(lambda: ready(channel) == 2)
            directory.add(nodes[2])
            await until(lambda: ready(channel) == 3)
            assert {await stub.unary(b"x") for _ in range(6)} == {b"0", b"1", b"2"}
            directory.node_status(nodes[0].id, NodeStatus.DRAINING)
            directory.remove(nodes[1].id)
            await until(lambda: len(channel.line.subchannels) == 1)
            assert {await stub.unary(b"x") for _ in range(6)} == {b"2"}
        assert not directory._subscribers
        assert repr(resolver) == f"<NodesResolver of {directory!r}, any type>"


async def test_nodes_by_what_they_host():
    """Only those with the actor type; their tags may weigh them, and their ids are their places on rings."""
    cart = NodeCapabilities(addressable_types=("Cart",), tags={"weight": "2.5"})
    odd = NodeCapabilities(addressable_types=("Cart",), tags={"weight": "heavy"})
    directory = StaticNodeResolver(
        [node(0, "a:1", capabilities=cart), node(1, "b:1"), node(2, "c:1", capabilities=odd)]
    )
    resolution = await NodesResolver(directory, "Cart").resolve()
    assert [(one.name, one.weight, one.hash_key) for one in resolution.endpoints] == [
        ("a:1", 2.5, str(NodeId("node-0"))),
        ("c:1", 1.0, str(NodeId("node-2"))),
    ]


def test_what_needs_no_balancer():
    """One address, or a name, with the default policy: a single subchannel, as fast as ever."""
    for target in ("127.0.0.1:1", "unix:/run/a", "host:1", "static:a:1"):
        assert isinstance(Channel(target).line, Subchannel)
    assert isinstance(resolver_for("static:a:1"), FixedResolver)
    assert not isinstance(Channel("ipv4:10.0.0.1:1,10.0.0.2:1").line, Subchannel)
    assert not isinstance(Channel("127.0.0.1:1", balancing=RoundRobin()).line, Subchannel)
