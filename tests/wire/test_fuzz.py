"""Any bytes, cut anywhere: events or one error with a GOAWAY, never another exception (design: "wire")."""

import re
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rawframes as raw
from orbit_net.errors import LocalProtocolError
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import HeadersReceived, MessagesReceived, StreamReset, TrailersReceived
from wirechecks import assert_one_failure, assert_sound
from wirefuzz import fuzz
from wirepair import REQUEST, RESPONSE, TRAILERS, TRAILERS_ONLY, Pair, feed, plain

pytestmark = pytest.mark.once

SMALL = WireSettings(
    stream_window=1_000, connection_window=65_535, max_concurrent_streams=5, max_header_list=1_024, max_message=600
)

# --- what a peer may send -----------------------------------------------------------------------------

KINDS = st.one_of(st.integers(0, 10), st.integers(0, 255))
STREAMS = st.one_of(st.sampled_from([0, 1, 3, 5, 7]), st.integers(0, 2**32 - 1))
FLAGS = st.one_of(st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 0x25, 0x2D]), st.integers(0, 255))
ANY_FRAME = st.builds(raw.frame, KINDS, FLAGS, STREAMS, st.binary(max_size=40))
BLOCKS = st.one_of(
    st.sampled_from([raw.block(fields) for fields in (raw.REQUEST, raw.RESPONSE, raw.TRAILERS)]),
    st.just(raw.block([(":status", "100")])),
    st.just(raw.block([*raw.RESPONSE, ("x", "y" * 900)])),
    st.just(b"\x40\x01x\x01y\xbe"),
    st.binary(max_size=30),
)
MESSAGES = st.one_of(
    st.binary(max_size=50).map(raw.message),
    st.integers(0, 700).map(lambda size: raw.message(bytes(size))),
    st.binary(max_size=20),
    st.just(b"\0\0\0"),
)
IDS = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 11])
LIKELY_FRAME = st.one_of(
    st.builds(
        lambda number, block, flags: raw.headers(number, block, flags=flags), IDS, BLOCKS, st.sampled_from([4, 5, 0, 1])
    ),
    st.builds(
        lambda number, flags, block: raw.frame(raw.CONTINUATION, flags, number, block),
        IDS,
        st.sampled_from([0, 4]),
        BLOCKS,
    ),
    st.builds(lambda number, body, end: raw.data(number, body, end=end), IDS, MESSAGES, st.booleans()),
    st.builds(lambda number, body, pad: raw.data(number, body, pad=pad), IDS, MESSAGES, st.integers(0, 255)),
    st.builds(raw.reset, IDS, st.integers(0, 15)),
    st.builds(raw.window_update, st.sampled_from([0, 1, 3]), st.sampled_from([0, 1, 1_000, 2**30, 2**31 - 1])),
    st.builds(
        raw.settings, st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 100, 65_535, 16_384, 2**31, 2**32 - 1]))
    ),
    st.sampled_from([raw.ping(), raw.ping(ack=True), raw.settings(ack=True), raw.goaway(1), raw.goaway(2**31 - 1)]),
    ANY_FRAME,
)
_GREETING = re.compile(r": (its first bytes are|it answered).*", re.DOTALL)
CUTS = st.one_of(st.none(), st.integers(1, 40), st.integers(0, 2**32).map(Random))


def make(side, opened=3):
    """Return an end with small limits; a client has a few streams open."""
    connection = Connection(client=side == "client", settings=SMALL)
    if side == "client":
        for _ in range(opened):
            stream_id = connection.open_stream(REQUEST)
            connection.send_message(stream_id, b"request")
        connection.send_end(1)
    return connection


def hello(side):
    """Return what the peer of this side says first."""
    return (b"" if side == "client" else raw.PREFACE) + raw.settings() + raw.settings(ack=True)


def told(events):
    """Return events as tuples; how much a broken greeting shows of itself depends on how much of it was there."""
    return [
        tuple(_GREETING.sub("", part) if isinstance(part, str) else part for part in event) for event in plain(events)
    ]


def run(side, data, cut, *, eof=True):
    """Feed bytes and the end; check everything, and return what was told."""
    connection = make(side)
    events = feed(connection, data, cut)
    if eof:
        events += connection.receive_eof()
    assert_sound(connection)
    assert_one_failure(connection, events)
    return told(events)


@pytest.mark.parametrize("side", ["client", "server"])
@given(data=st.binary(max_size=300), cut=CUTS)
@fuzz(150)
def test_any_first_bytes(side, data, cut):
    """Whatever a peer begins with."""
    assert run(side, data, cut) == run(side, data, None)


@pytest.mark.parametrize("side", ["client", "server"])
@given(data=st.binary(max_size=300), cut=CUTS)
@fuzz(150)
def test_any_bytes_after_the_hello(side, data, cut):
    """Whatever follows a correct beginning."""
    data = hello(side) + data
    assert run(side, data, cut) == run(side, data, None)


@pytest.mark.parametrize("side", ["client", "server"])
@given(frames=st.lists(LIKELY_FRAME, max_size=25), cut=CUTS)
@fuzz(400)
def test_any_frames_after_the_hello(side, frames, cut):
    """Whole frames, likely and unlikely, in any order."""
    data = hello(side) + b"".join(frames)
    assert run(side, data, cut) == run(side, data, None)


@pytest.mark.parametrize("side", ["client", "server"])
@given(frames=st.lists(LIKELY_FRAME, max_size=25), seed=st.integers(0, 2**32))
@fuzz(300)
def test_any_frames_while_the_application_does_what_it_likes(side, frames, seed):
    """The application answers, reads, resets and releases at random between the frames: only LocalProtocolError."""
    random = Random(seed)
    connection = make(side)
    events = connection.receive_data(hello(side))
    for frame in frames:
        events += connection.receive_data(frame)
        assert_sound(connection)
        act(connection, random)
        assert_sound(connection)
    events += connection.receive_eof()
    assert_sound(connection)
    for stream_id in list(connection.streams):
        connection.release(stream_id)
    assert connection.streams == {}
    if connection.failure is None:
        window = connection.window
        assert window.available + window.owed == window.size + window.lent


def act(connection, random):
    """Do one thing that an application may do, right or wrong."""
    stream_id = random.choice([1, 3, 5, 7, 9])
    moves = [
        lambda: connection.send_headers(stream_id, RESPONSE),
        lambda: connection.send_message(stream_id, bytes(random.choice((0, 10, 3_000))), end=random.random() < 0.2),
        lambda: connection.send_trailers(stream_id, random.choice((TRAILERS, TRAILERS_ONLY))),
        lambda: connection.send_end(stream_id),
        lambda: connection.reset_stream(stream_id, raw.CANCEL),
        lambda: connection.release(stream_id),
        lambda: connection.return_credit(stream_id, random.choice((5, 100, 10**6))),
        lambda: connection.expect_message(stream_id),
        lambda: connection.watch(stream_id),
        lambda: connection.open_stream(REQUEST),
        lambda: raw.split(connection.data_to_send(random.choice((1, 100, 10**6)))),
        connection.take_drained,
        lambda: connection.ping(b"pingping"),
        connection.drain,
        connection.goaway,
    ]
    # A client that says GOAWAY refuses nothing, a server does: rarely, or most examples would be about that.
    move = random.choice(moves[:-2] if random.random() < 0.95 else moves)
    try:
        move()
    except LocalProtocolError:
        return


# --- mutated conversations ----------------------------------------------------------------------------


def recorded():
    """Return what a client and a server send in a conversation with a bit of everything."""
    pair = Pair(client=SMALL, server=SMALL, started=False)
    sent = {"client": b"", "server": b""}

    def carry():
        for _ in range(20):
            for side, speaker, listener in (("server", pair.client, pair.server), ("client", pair.server, pair.client)):
                data = speaker.wire.data_to_send()
                sent[side] += data
                listener.take(listener.wire.receive_data(data))
                for event in [event for event in listener.events if isinstance(event, MessagesReceived)]:
                    listener.consume(event.stream_id)

    carry()
    streams = [pair.open(b"a" * 300, b"", b"b" * 500, extra=[(b"x-n", b"%d" % number)]) for number in range(4)]
    carry()
    for stream_id in streams[:3]:
        pair.server.wire.send_headers(stream_id, RESPONSE)
        pair.server.wire.send_message(stream_id, b"c" * 400)
        pair.server.wire.send_message(stream_id, b"")
    pair.client.wire.send_end(streams[0])
    carry()
    pair.server.wire.send_trailers(streams[0], TRAILERS)
    pair.client.wire.reset_stream(streams[1], raw.CANCEL)
    pair.server.wire.send_trailers(streams[2], TRAILERS, [(b"grpc-message", b"m" * 100)])
    pair.server.wire.reset_stream(streams[3], raw.INTERNAL_ERROR)
    pair.client.wire.ping(b"12345678")
    carry()
    pair.server.wire.drain()
    carry()
    return sent


def mutate(data, random):
    """Change a conversation in a few places."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 10))):
        at = random.randrange(len(changed))
        size = random.choice((1, 1, 2, 9, 30))
        match random.randrange(5):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at] = random.randrange(256)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = random.randbytes(size)
            case 4:
                start = random.randrange(len(changed))
                changed[at:at] = changed[start : start + 100]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", ["client", "server"])
def test_mutated_conversations(side, seed):
    """A correct conversation with a few bytes changed, removed, inserted or repeated, cut in three ways."""
    conversation = recorded()[side]
    random = Random(seed)
    for _ in range(150):
        data = mutate(conversation, random)
        whole = run_mutated(side, data, None)
        assert run_mutated(side, data, 1) == whole, data.hex()
        assert run_mutated(side, data, Random(random.random())) == whole, data.hex()


def run_mutated(side, data, cut):
    """Feed one mutated conversation to an end that has opened the streams it is about."""
    connection = make(side, opened=4)
    events = feed(connection, data, cut) + connection.receive_eof()
    assert_sound(connection)
    assert_one_failure(connection, events)
    return told(events)


def test_the_recorded_conversation_is_a_good_one():
    """Mutations start from something that works: no failure, and every kind of event."""
    sent = recorded()
    assert len(sent["client"]) > 1_000
    assert len(sent["server"]) > 2_000
    names = {event[0] for event in run_mutated("client", sent["client"], None)}
    assert {"headers", "message", "trailers", "reset", "GoAwayReceived"} <= names
    assert "ConnectionFailed" not in names
    names = {event[0] for event in run_mutated("server", sent["server"], None)}
    assert {"headers", "message", "end", "reset"} <= names
    assert "ConnectionFailed" not in names


# --- bounds -------------------------------------------------------------------------------------------


def endless_block(_):
    return raw.headers(1, b"", flags=0) + raw.frame(raw.CONTINUATION, 0, 1, bytes(1_000)) * 30


def requests_and_data(number):
    return raw.headers(2 * number + 1) + raw.data(2 * number + 1, raw.message(bytes(10_000)))


def requests_and_resets(number):
    return raw.headers(2 * number + 1) + raw.data(2 * number + 1, b"\0") + raw.reset(2 * number + 1)


def new_header_blocks(number):
    return raw.headers(2 * number + 1, [*raw.REQUEST, ("x", f"{number}" * 80)], end=True)


def huge_messages_begun(number):
    return raw.headers(2 * number + 1) + raw.data(2 * number + 1, b"\0\0\x3f\xff\xff" + bytes(1_000))


def unknown_frames(_):
    return raw.frame(0xEE, 0, 0, bytes(16_000))


@pytest.mark.parametrize(
    "attack",
    [endless_block, requests_and_data, requests_and_resets, new_header_blocks, huge_messages_begun, unknown_frames],
)
def test_memory_is_bounded(attack):
    """Thousands of rounds of something greedy, an application that never reads nor ends: less than 16 MiB stay."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        connection = Connection(client=False)
        connection.receive_data(hello("server"))
        for number in range(3_000):
            connection.receive_data(attack(number))
            connection.data_to_send()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 16 * 2**20
    assert_sound(connection)


def test_random_bytes_in_bulk():
    """Megabytes of noise behind a good hello end at once and cost nothing."""
    random = Random(3)
    for side in ("client", "server"):
        for _ in range(200):
            connection = make(side)
            events = connection.receive_data(hello(side) + random.randbytes(50_000))
            assert_one_failure(connection, events)
            assert_sound(connection)


def test_events_of_one_stream_end_once():
    """After the end, the failure or the reset of a stream that the peer has finished, nothing more is told of it."""
    random = Random(8)
    conversation = recorded()
    for _ in range(300):
        events = feed(make("client", opened=4), mutate(conversation["client"], random))
        over = set()
        for event in events:
            if isinstance(event, (HeadersReceived, MessagesReceived)):
                assert event.stream_id not in over
            elif isinstance(event, (TrailersReceived, StreamReset)) or type(event).__name__ == "StreamFailed":
                if not isinstance(event, TrailersReceived):
                    assert ("failed", event.stream_id) not in over
                    over.add(("failed", event.stream_id))
                over.add(event.stream_id)
