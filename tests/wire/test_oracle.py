"""Random legal conversations with ``h2.connection.H2Connection`` on the other side: same meaning, same windows."""

from random import Random

import h2.settings
import pytest

import rawframes as raw
from h2peer import H2Peer
from orbit_net.wire import Connection, WireSettings
from orbit_net.wire.events import (
    HeadersReceived,
    MessagesReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
)
from orbit_net.wire.grammar import Phase
from wirechecks import assert_sound
from wirepair import REQUEST, RESPONSE, TRAILERS, TRAILERS_ONLY, End, feed

pytestmark = pytest.mark.once

SETTINGS = [
    WireSettings(),
    WireSettings(stream_window=65_535, connection_window=65_535),
    WireSettings(stream_window=3_000, connection_window=100_000),
    WireSettings(stream_window=2**20, connection_window=2**21, max_frame_size=2**18),
]
CHANGES = h2.settings.SettingCodes


class Conversation:
    """One of our ends, h2 at the other, a pipe between, and the same random moves on both."""

    def __init__(self, random, *, ours_is_client, settings):
        self.random = random
        self.client = ours_is_client
        self.ours = End(Connection(client=ours_is_client, settings=settings))
        self.h2 = H2Peer(client=not ours_is_client, window=random.choice((65_535, 1_000, 200_000)))
        self.sent = {}  # (who, stream) → the messages
        self.metadata = {}  # (who, stream, where) → the fields
        self.statuses = {}
        self.over = set()  # streams that somebody reset
        self.taken = {}  # stream → the bytes that our application took
        self.pump()

    # --- the pipe ---

    def pump(self):
        """Carry bytes both ways until nothing moves, then compare the windows."""
        while True:
            data = self.ours.wire.data_to_send()
            if data:
                self.h2.receive(data)
            back = self.h2.take()
            self.ours.take(feed(self.ours.wire, back, self.random.choice((None, None, self.random))))
            if not data and not back:
                break
        assert self.ours.wire.failure is None
        assert_sound(self.ours.wire)
        self.compare_windows()

    def compare_windows(self):
        """RFC 9113 §6.9: at rest both ends count the same windows, of the connection and of each stream."""
        wire, conn = self.ours.wire, self.h2.conn
        assert wire.outbox.window == conn.inbound_flow_control_window
        assert wire.window.available == conn.outbound_flow_control_window
        for stream_id, stream in wire.streams.items():
            theirs = conn.streams.get(stream_id)
            if theirs is None or theirs.closed:
                continue
            if stream.send_phase is not Phase.DONE or stream.out_size:
                assert stream.send_window == theirs.inbound_flow_control_window
            if stream.receive_phase is not Phase.DONE and not stream.deaf:
                assert stream.receive_window.available == theirs.outbound_flow_control_window

    # --- moves ---

    def fields(self):
        """Draw some metadata."""
        names = [b"x-a", b"x-b-bin", b"x-long"]
        return [
            (self.random.choice(names), b"%x" % self.random.getrandbits(80)) for _ in range(self.random.randint(0, 3))
        ]

    def message(self):
        """Draw a message."""
        return self.random.randbytes(self.random.choice((0, 1, 30, 800, 800, 5_000, 40_000)))

    def open(self):
        """Begin a call on the side of the client."""
        extra = self.fields()
        if self.client:
            if not self.ours.wire.can_open:
                return
            stream_id = self.ours.wire.open_stream(REQUEST, extra)
        else:
            if self.h2.conn.open_outbound_streams >= self.h2.conn.remote_settings.max_concurrent_streams:
                return
            stream_id = self.h2.open([*REQUEST.fields, *extra])
        self.metadata["client", stream_id, "headers"] = extra
        self.sent["client", stream_id] = []
        self.sent["server", stream_id] = []
        self.pump()

    def respond(self, stream_id):
        """Send the response headers on the side of the server, once."""
        if ("server", stream_id, "headers") in self.metadata:
            return
        extra = self.metadata["server", stream_id, "headers"] = self.fields()
        if self.client:
            self.h2.conn.send_headers(stream_id, [*RESPONSE.fields, *extra])
        else:
            self.ours.wire.send_headers(stream_id, RESPONSE, extra)

    def say(self, who, stream_id):
        """Send a message on one side."""
        if who == "server":
            self.respond(stream_id)
        message = self.message()
        self.sent[who, stream_id].append(message)
        if (who == "client") == self.client:
            self.ours.wire.send_message(stream_id, message)
        else:
            self.h2.send_message(stream_id, message)

    def finish(self, who, stream_id):
        """End one side's direction."""
        if (who, stream_id) in self.statuses:
            return
        ours = (who == "client") == self.client
        if ours and who == "client" and self.ours.wire.streams[stream_id].send_window < 0:
            return  # h2 takes even an empty frame for an overrun of a negative window; §6.9.1 allows it
        self.statuses[who, stream_id] = True
        if who == "client":
            if ours:
                self.ours.wire.send_end(stream_id)
            else:
                self.h2.send_end(stream_id)
            return
        extra = self.metadata["server", stream_id, "trailers"] = self.fields()
        only = ("server", stream_id, "headers") not in self.metadata
        template = TRAILERS_ONLY if only else TRAILERS
        if ours:
            self.ours.wire.send_trailers(stream_id, template, extra)
        else:
            self.h2.send_end(stream_id, [*template.fields, *extra])

    def reset(self, stream_id):
        """Abandon a stream on either side."""
        self.over.add(stream_id)
        if self.random.random() < 0.5:
            self.ours.wire.reset_stream(stream_id, raw.CANCEL)
        else:
            self.h2.reset(stream_id, raw.CANCEL)

    def change(self):
        """Let h2 change its settings while calls are open."""
        key, values = self.random.choice(
            [
                (CHANGES.INITIAL_WINDOW_SIZE, (0, 100, 10_000, 65_535, 300_000)),
                (CHANGES.HEADER_TABLE_SIZE, (0, 100, 4_096, 8_192)),
                (CHANGES.MAX_FRAME_SIZE, (16_384, 50_000)),
            ]
        )
        self.h2.conn.update_settings({key: self.random.choice(values)})

    def alive(self):
        """Return the calls that nobody reset and whose response is not finished."""
        return [
            stream_id
            for who, stream_id in self.sent
            if who == "client" and stream_id not in self.over and ("server", stream_id) not in self.statuses
        ]

    def move(self):
        """Make one random legal move."""
        kind = self.random.random()
        alive = self.alive()
        if kind < 0.15 or not alive:
            self.open()
        elif kind < 0.65:
            stream_id, who = self.random.choice(alive), self.random.choice(("client", "server"))
            if (who, stream_id) not in self.statuses:
                self.say(who, stream_id)
        elif kind < 0.75:
            self.finish(self.random.choice(("client", "client", "server")), self.random.choice(alive))
        elif kind < 0.78:
            self.reset(self.random.choice(alive))
        elif kind < 0.82:
            self.change()
        elif kind < 0.85:
            self.h2.conn.ping(b"from h2!")
        else:
            self.read(self.random.choice(alive))

    def read(self, stream_id):
        """Let both applications read one stream."""
        self.h2_reads(stream_id, self.random.choice((None, 1, 100, 3_000)))
        self.we_read(stream_id)

    def we_read(self, stream_id):
        """Let our application take what has arrived on a stream, and wait for more."""
        arrived = sum(len(message) + 5 for message in self.ours.messages(stream_id))
        self.ours.wire.return_credit(stream_id, arrived - self.taken.get(stream_id, 0))
        self.taken[stream_id] = arrived
        self.ours.wire.expect_message(stream_id)

    def h2_reads(self, stream_id, size=None):
        """Let h2's application read, if the stream has begun there."""
        if stream_id in self.h2.calls:
            self.h2.acknowledge(stream_id, size)

    # --- the end ---

    def settle(self):
        """Finish every call that is still open, read everything, and let both sides be done."""
        self.h2.conn.update_settings({CHANGES.INITIAL_WINDOW_SIZE: 65_535})
        self.pump()
        calls = self.alive()
        for _ in range(2_000):
            for stream_id in calls:
                self.finish("client", stream_id)
                if ("client", stream_id) in self.statuses:
                    self.finish("server", stream_id)
            for stream_id in self.h2.calls:
                self.h2_reads(stream_id)
            for stream_id in list(self.ours.wire.streams):
                self.we_read(stream_id)
            self.pump()
            if not self.alive() and not self.ours.wire.outbox.data_size and not self.h2.waiting:
                break
        else:
            raise AssertionError("the conversation does not come to its end")
        self.ours.release_all()
        self.pump()
        assert self.ours.wire.streams == {}

    def check(self):
        """Compare what was sent with what the other side was told."""
        for who, stream_id in self.sent:
            if who == "client":
                self.check_call(stream_id)
        assert not list(self.ours.of(StreamFailed))

    def check_call(self, stream_id):
        """One call: messages, metadata and status both ways; a prefix of the messages where somebody reset it."""
        call = self.h2.calls[stream_id]
        to_h2, to_us = ("client", "server") if self.client else ("server", "client")
        arrived = self.ours.messages(stream_id)
        if stream_id in self.over:
            assert call.messages == self.sent[to_h2, stream_id][: len(call.messages)]
            assert arrived == self.sent[to_us, stream_id][: len(arrived)]
            return
        assert not self.ours.of(StreamReset, stream_id)
        assert call.reset in (None, raw.NO_ERROR)
        if self.client:
            assert arrived == self.sent["server", stream_id]
            # A server of h2's that ends early leaves the request as far as it came.
            assert call.messages == self.sent["client", stream_id][: len(call.messages)]
            assert call.headers == [*REQUEST.fields, *self.metadata["client", stream_id, "headers"]]
            [trailers] = self.ours.of(TrailersReceived, stream_id)
            self.check_answer(
                stream_id,
                [event.block for event in self.ours.of(HeadersReceived, stream_id)],
                [*trailers.block.pseudo.items(), *trailers.block.fields],
            )
        else:
            assert call.messages == self.sent["server", stream_id]
            assert arrived == self.sent["client", stream_id][: len(arrived)]
            [headers] = self.ours.of(HeadersReceived, stream_id)
            assert headers.block.fields[2:] == self.metadata["client", stream_id, "headers"]
            only = ("server", stream_id, "headers") not in self.metadata
            assert (call.headers if only else call.trailers) == [
                *(TRAILERS_ONLY if only else TRAILERS).fields,
                *self.metadata["server", stream_id, "trailers"],
            ]
            if not only:
                assert call.headers == [*RESPONSE.fields, *self.metadata["server", stream_id, "headers"]]

    def check_answer(self, stream_id, headers, trailers):
        """Compare a response of h2's with what we were told."""
        only = ("server", stream_id, "headers") not in self.metadata
        assert trailers == [
            *(TRAILERS_ONLY if only else TRAILERS).fields,
            *self.metadata["server", stream_id, "trailers"],
        ]
        if not only:
            [block] = headers
            assert block.fields[1:] == self.metadata["server", stream_id, "headers"]


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_random_conversation_means_the_same_to_h2(side, seed):
    """Sixty to two hundred random moves: same messages, statuses, metadata and windows at both ends, at all times."""
    random = Random(seed)
    talk = Conversation(random, ours_is_client=side == "client", settings=SETTINGS[seed % len(SETTINGS)])
    for _ in range(random.randint(60, 200)):
        talk.move()
        if random.random() < 0.7:
            talk.pump()
    talk.pump()
    talk.settle()
    talk.check()


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_h2_with_padding_mean_the_same(seed):
    """Padded DATA costs both ends the same window."""
    random = Random(seed)
    peer, server = H2Peer(client=True), Connection(client=False)
    server.receive_data(peer.take())
    peer.receive(server.data_to_send())
    stream_id = peer.open(REQUEST.fields)
    body = raw.message(random.randbytes(30_000))
    events = []
    while body:
        size = random.randint(0, 900)
        peer.conn.send_data(stream_id, body[:size], pad_length=random.randint(0, 255))
        body = body[size:]
        events += feed(server, peer.take(), random)
        peer.receive(server.data_to_send())
        assert server.window.available == peer.conn.outbound_flow_control_window
        assert server.streams[stream_id].receive_window.available == peer.conn.local_flow_control_window(stream_id)
    assert [type(event) for event in events if not type(event).__name__.startswith("Settings")] == [
        HeadersReceived,
        MessagesReceived,
    ]
    assert_sound(server)


def test_h2_hears_our_goodbye():
    """A GOAWAY reaches h2 with its id, code and reason (what follows it h2 would not read: it cannot drain)."""
    peer, server = H2Peer(client=True), Connection(client=False)
    server.receive_data(peer.take())
    stream_id = peer.open(REQUEST.fields)
    peer.send_end(stream_id)
    events = server.receive_data(peer.take())
    assert isinstance(events[-1], StreamEnded)
    server.goaway(raw.ENHANCE_YOUR_CALM, b"too_many_pings")
    peer.receive(server.data_to_send())
    found = peer.goaway.last_stream_id, peer.goaway.error_code, peer.goaway.additional_data
    assert found == (stream_id, raw.ENHANCE_YOUR_CALM, b"too_many_pings")
