"""grpcio with google.protobuf against us, with our generated code on betterproto2, and with google.protobuf too."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpclib.const import Cardinality, Handler

from grpcio_peer import in_thread
from orbit_net.client import Channel, Stub
from orbit_net.server import Server, Service

pytestmark = pytest.mark.anyio

SENT = datetime.datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.UTC)
TRAVEL = datetime.timedelta(days=2, seconds=3, microseconds=4000)


def values(messages):
    """Return a value other than the default for each field of a parcel."""
    return {
        "name": "Fünf Zwerge 🐍",
        "seal": bytes(range(256)),
        "small": -(2**31),
        "large": -(2**63),
        "natural": 2**64 - 1,
        "zigzag": -7,
        "fixed": 2**63,
        "signed_fixed": -8,
        "weight": 1e-300,
        "volume": 0.5,
        "fragile": True,
        "speed": 2,
        "stops": [messages.Stop(town="Ulm", minutes=5), messages.Stop()],
        "numbers": [0, -1, 2**63 - 1],
        "towns": {"": messages.Stop(town="x"), "Ulm": messages.Stop()},
        "note": "",
        "cash_at": messages.Stop(town="Bonn"),
    }


def their_parcel(messages):
    """Return the full parcel as a message of google.protobuf."""
    inner = messages.Parcel(invoice="i", name="inner")
    parcel = messages.Parcel(**values(messages), inside=[inner, messages.Parcel()])
    parcel.sent.FromDatetime(SENT)
    parcel.travel.FromTimedelta(TRAVEL)
    return parcel


def our_parcel(messages):
    """Return the full parcel as a message of betterproto2."""
    inner = messages.Parcel(invoice="i", name="inner")
    given = {**values(messages), "speed": messages.Speed.FAST}
    return messages.Parcel(**given, inside=[inner, messages.Parcel()], sent=SENT, travel=TRAVEL)


def belt(messages, parcels):
    """Return what each method must answer to these parcels."""
    return [stamped(messages, parcel) for parcel in parcels]


def stamped(messages, parcel):
    """Return a copy of a parcel with one stop more."""
    copy = type(parcel).FromString(parcel.SerializeToString())
    copy.stops.append(messages.Stop(town="depot"))
    return copy


# --- the same service three times ------------------------------------------------------------------


def our_depot(ours):
    """Return the service on our base, with betterproto2's messages."""
    messages = ours.messages

    class Depot(ours.DepotBase):
        async def stamp(self, request):
            return stamped(messages, request)

        async def track(self, request):
            for stop in request.stops:
                yield messages.Parcel(stops=[stop])

        async def pack(self, requests):
            return messages.Parcel(inside=[parcel async for parcel in requests])

        async def belt(self, stream):
            async for parcel in stream:
                await stream.send_message(stamped(messages, parcel))

    return Depot()


def their_depot_on_us(theirs):
    """Return the service by hand on our server, with google.protobuf's messages."""
    messages, parcel = theirs.messages, theirs.messages.Parcel

    class Depot(Service):
        async def stamp(self, request):
            return stamped(messages, request)

        async def track(self, request):
            for stop in request.stops:
                yield parcel(stops=[stop])

        async def pack(self, requests):
            return parcel(inside=[parcel async for parcel in requests])

        async def belt(self, stream):
            async for request in stream:
                yield stamped(messages, request)

        def __mapping__(self):
            kinds = {
                "Stamp": (self._unary_unary(self.stamp), Cardinality.UNARY_UNARY),
                "Track": (self._unary_stream(self.track), Cardinality.UNARY_STREAM),
                "Pack": (self._stream_unary(self.pack), Cardinality.STREAM_UNARY),
                "Belt": (self._stream_stream(self.belt), Cardinality.STREAM_STREAM),
            }
            return {f"/parcel.v1.Depot/{name}": Handler(*kind, parcel, parcel) for name, kind in kinds.items()}

    return Depot()


def their_depot(theirs):
    """Return the service on grpcio's base."""
    messages = theirs.messages

    class Depot(theirs.DepotServicer):
        def Stamp(self, request, context):  # noqa: N802
            return stamped(messages, request)

        def Track(self, request, context):  # noqa: N802
            for stop in request.stops:
                yield messages.Parcel(stops=[stop])

        def Pack(self, request_iterator, context):  # noqa: N802
            return messages.Parcel(inside=list(request_iterator))

        def Belt(self, request_iterator, context):  # noqa: N802
            for request in request_iterator:
                yield stamped(messages, request)

    return Depot()


# --- and called ------------------------------------------------------------------------------------


def call_with_grpcio(theirs, target):
    """Call each method with grpcio's stub; run it in a thread."""
    messages = theirs.messages
    full, empty = their_parcel(messages), messages.Parcel()
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = theirs.DepotStub(channel)
        assert stub.Stamp(full) == stamped(messages, full)
        assert stub.Stamp(empty) == stamped(messages, empty)
        assert list(stub.Track(full)) == [messages.Parcel(stops=[stop]) for stop in full.stops]
        assert stub.Pack(iter([full, empty])) == messages.Parcel(inside=[full, empty])
        assert list(stub.Belt(iter([full, empty]))) == belt(messages, [full, empty])


async def test_grpcio_calls_our_generated_service(ours, theirs):
    """Every field written by google.protobuf arrives in betterproto2's messages, and back."""
    async with Server([our_depot(ours)]) as server:
        [target] = await server.listen("127.0.0.1:0")
        await in_thread(call_with_grpcio, theirs, target)


async def test_grpcio_calls_a_google_protobuf_service(theirs):
    """Messages of google.protobuf need no codec of their own on our server."""
    async with Server([their_depot_on_us(theirs)]) as server:
        [target] = await server.listen("127.0.0.1:0")
        await in_thread(call_with_grpcio, theirs, target)


async def test_our_generated_stub_calls_grpcio(ours, theirs, grpcio_depot):
    """Every field written by betterproto2 arrives in google.protobuf's messages, and back."""
    messages = ours.messages
    full, empty = our_parcel(messages), messages.Parcel()
    assert theirs.messages.Parcel.FromString(bytes(full)) == their_parcel(theirs.messages)
    async with Channel(grpcio_depot) as channel:
        stub = ours.DepotStub(channel)
        assert await stub.stamp(full) == stamped(messages, full)
        assert await stub.stamp(empty) == stamped(messages, empty)
        assert [parcel async for parcel in stub.track(full)] == [messages.Parcel(stops=[stop]) for stop in full.stops]
        assert await stub.pack([full, empty]) == messages.Parcel(inside=[full, empty])
        async with stub.belt() as stream:
            stream.start_sender([full, empty])
            assert [parcel async for parcel in stream] == belt(messages, [full, empty])


async def test_google_protobuf_messages_to_grpcio(theirs, grpcio_depot):
    """Messages of google.protobuf need no codec of their own on our channel."""
    messages, parcel = theirs.messages, theirs.messages.Parcel
    full, empty = their_parcel(messages), parcel()
    async with Channel(grpcio_depot) as channel:
        stub = Stub(channel)
        assert await stub._unary_unary("/parcel.v1.Depot/Stamp", full, parcel) == stamped(messages, full)
        replies = stub._unary_stream("/parcel.v1.Depot/Track", full, parcel)
        assert [reply async for reply in replies] == [parcel(stops=[stop]) for stop in full.stops]
        packed = await stub._stream_unary("/parcel.v1.Depot/Pack", [full, empty], parcel, parcel)
        assert packed == parcel(inside=[full, empty])
        async with stub._stream_stream("/parcel.v1.Depot/Belt", parcel, parcel) as stream:
            stream.start_sender([full, empty])
            assert [reply async for reply in stream] == belt(messages, [full, empty])


@pytest.fixture
def grpcio_depot(theirs):
    """The target of a grpcio server with the service."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        theirs.add_DepotServicer_to_server(their_depot(theirs), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(0).wait()
