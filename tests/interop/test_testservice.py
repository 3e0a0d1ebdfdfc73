"""Every case of the interop list between our client and server, grpcio's and grpc-js's, on both loops.

Source: gRPC's interop-test-descriptions; what needs cloud credentials is not in the list.
"""

from contextlib import ExitStack, asynccontextmanager

import pytest

from grpcio_peer import in_thread
from orbit_net.server import Server
from testservice import cases, our_server
from testservice.cache import caching_proxy
from testservice.flags import NotingCodec, note_flags
from testservice.generated import generated as generate
from testservice.grpcio_client import GrpcioClient
from testservice.grpcio_server import grpcio_server
from testservice.grpcjs import GrpcjsClient, grpcjs_server, missing
from testservice.our_client import OurClient
from testservice.security import Plain, Tls

pytestmark = pytest.mark.anyio

OURS, GRPCIO, GRPCJS = "orbit", "grpcio", "grpc-js"
PAIRS = ((OURS, OURS), (OURS, GRPCIO), (GRPCIO, OURS), (OURS, GRPCJS), (GRPCJS, OURS))
TRANSPORTS = ("plain", "tls")


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """The messages and services, by our generator and by grpcio's."""
    with generate(tmp_path_factory.mktemp("testservice")) as found:
        yield found


@pytest.fixture(scope="module")
def security(tmp_path_factory):
    """What each transport needs: nothing, or certificates."""
    return {"plain": Plain(), "tls": Tls(tmp_path_factory.mktemp("certificates"))}


@pytest.fixture(scope="module")
def peers(protocol, security):
    """The servers and clients of the others, each started when it is asked for, and kept."""
    with ExitStack() as stack:
        yield _Peers(stack, protocol, security)


class _Peers:
    def __init__(self, stack, protocol, security):
        self._stack = stack
        self._protocol = protocol
        self._security = security
        self._found = {}

    def _once(self, name, start):
        if name not in self._found:
            self._found[name] = start()
        return self._found[name]

    def grpcio_port(self, transport):
        """Return the port of grpcio's server."""
        credentials = self._security[transport].grpcio_server
        start = lambda: self._stack.enter_context(grpcio_server(self._protocol.theirs, credentials))  # noqa: E731
        return self._once(("grpcio", transport), start)

    def grpcjs_port(self, transport):
        """Return the port of grpc-js's server, which has one for each transport."""
        tls = self._security["tls"]
        start = lambda: self._stack.enter_context(grpcjs_server(tls.certificate, tls.key))  # noqa: E731
        return self._once("grpcjs", start)[transport]

    def grpcjs_client(self):
        """Return grpc-js's client."""

        def start():
            client = GrpcjsClient()
            self._stack.callback(client.close)
            return client

        return self._once("client", start)


@asynccontextmanager
async def serving(server, transport, protocol, security, peers):
    """Give the target of a server."""
    if server == GRPCIO:
        yield f"127.0.0.1:{await in_thread(peers.grpcio_port, transport)}"
    elif server == GRPCJS:
        yield f"127.0.0.1:{await in_thread(peers.grpcjs_port, transport)}"
    else:
        async with Server(
            our_server.services(protocol.ours), codec=NotingCodec(), **security[transport].server()
        ) as running:
            [target] = await running.listen("127.0.0.1:0")
            yield target


async def call(client, case, target, protocol, secure, peers, *, probe, soak):
    """Run one case."""
    if client == OURS:
        await OurClient(protocol.ours, target, options=secure.channel(), probe=probe, soak=soak).run(case)
    elif client == GRPCIO:
        await in_thread(GrpcioClient(protocol.theirs, target, credentials=secure.grpcio_channel, soak=soak).run, case)
    else:
        await in_thread(peers.grpcjs_client().run, case, target, ca=secure.ca, probe=probe, soak=soak)


def left_out(case, client, server):
    """Return why a cell is left out, or None."""
    if GRPCJS in (client, server) and (reason := missing()):
        return f"grpc-js: {reason}"
    gap = cases.gap(case, client, server)
    return gap.reason if gap and not gap.partly else None


@pytest.mark.parametrize("case", cases.CASES)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("client", "server"), PAIRS)
async def test_case(case, client, server, transport, anyio_backend, record_property, request, monkeypatch):
    """The case ends as its description demands."""
    gap = cases.gap(case, client, server)
    reason = left_out(case, client, server)
    note = reason or (gap.reason if gap else None)
    record_property("interop", (case, f"{client}→{server}", transport, anyio_backend, note))
    if reason:
        pytest.skip(reason)
    note_flags(monkeypatch)
    protocol, security, peers = (request.getfixturevalue(name) for name in ("protocol", "security", "peers"))
    secure, soak = security[transport], cases.Soak.of(request.config.getoption("--soak", 10))
    options = {"probe": server != GRPCJS, "soak": soak}
    async with serving(server, transport, protocol, security, peers) as target:
        if case != "cacheable_unary":
            await call(client, case, target, protocol, secure, peers, **options)
            return
        async with caching_proxy(target, channel=secure.channel(), server=secure.server()) as (proxy, front):
            await call(client, case, front, protocol, secure, peers, **options)
            assert proxy.forwarded == 1


def test_every_gap_has_a_reason():
    """What a peer cannot do is said in words, about cases and peers that there are."""
    for gap in cases.GAPS:
        assert gap.reason
        assert {gap.client, gap.server} <= {OURS, GRPCIO, GRPCJS, "*"}
        assert any(cases.gap(case, gap.client, gap.server) is gap for case in cases.CASES)


def test_a_case_left_out_without_a_reason_fails():
    """The table takes a skip without words for a failure."""
    from testservice.table import Table

    table = Table()
    table.add(("one", "a→b", "plain", "trio"), "skipped", None)
    table.add(("two", "a→b", "plain", "trio"), "skipped", "words")
    assert [case for case, *_ in table.failed] == ["one"]
