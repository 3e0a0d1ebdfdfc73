"""Two ends of :class:`orbit_net.wire.Connection` joined by a byte pipe, without any I/O."""

import rawframes as raw
from orbit_net.wire import Connection, HeaderTemplate
from orbit_net.wire.events import (
    HeadersReceived,
    MessagesReceived,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TrailersReceived,
)

REQUEST = HeaderTemplate(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/test.Echo/Chat"),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
)
RESPONSE = HeaderTemplate([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = HeaderTemplate([(b"grpc-status", b"0")])
TRAILERS_ONLY = HeaderTemplate([*RESPONSE.fields, (b"grpc-status", b"5"), (b"grpc-message", b"no such thing")])


def pieces(data, chunk):
    """Cut ``data`` into pieces: whole for None, of ``chunk`` bytes, or of random sizes when ``chunk`` draws them."""
    if chunk is None:
        return [data] if data else []
    cut, position = [], 0
    while position < len(data):
        size = chunk if isinstance(chunk, int) else chunk.randint(1, chunk.choice((3, 30, 3_000, 60_000)))
        cut.append(data[position : position + size])
        position += size
    return cut


def feed(connection, data, chunk=None):
    """Give ``data`` to one end piece by piece, and return all the events."""
    events = []
    for piece in pieces(data, chunk):
        events += connection.receive_data(piece)
    return events


def plain(events):
    """Return events as comparable tuples, one for each message: how they were batched depends on the pieces."""
    told = []
    for event in events:
        match event:
            case MessagesReceived(stream_id, messages):
                told += [("message", stream_id, type(message).__name__, bytes(message)) for message in messages]
            case HeadersReceived(stream_id, block):
                told.append(("headers", stream_id, tuple(block.pseudo.items()), tuple(block.fields)))
            case TrailersReceived(stream_id, block):
                told.append(("trailers", stream_id, tuple(block.pseudo.items()), tuple(block.fields)))
            case StreamEnded(stream_id):
                told.append(("end", stream_id))
            case StreamReset(stream_id, error_code):
                told.append(("reset", stream_id, int(error_code)))
            case StreamFailed(stream_id, status, reason, reset, unprocessed):
                told.append(("failed", stream_id, status.name, reason, reset, unprocessed))
            case _:
                told.append((type(event).__name__, str(getattr(event, "error", event))))
    return told


def started_server(settings=None):
    """Return a server that has seen the hello of a client, at time 0."""
    connection = Connection(client=False, settings=settings)
    connection.tick(0.0)
    connection.receive_data(raw.PREFACE + raw.settings() + raw.settings(ack=True))
    connection.data_to_send()
    return connection


def started_client(settings=None):
    """Return a client that has seen the hello of a server, at time 0."""
    connection = Connection(client=True, settings=settings)
    connection.tick(0.0)
    connection.receive_data(raw.settings() + raw.settings(ack=True))
    connection.data_to_send()
    return connection


class End:
    """One end: the connection, all events so far, and the application's usual moves."""

    def __init__(self, connection):
        self.wire = connection
        self.events = []

    def take(self, events):
        """Keep events."""
        self.events += events

    def of(self, kind, stream_id=None):
        """Return the events of one class, of one stream when it is named."""
        found = [event for event in self.events if isinstance(event, kind)]
        return found if stream_id is None else [event for event in found if event.stream_id == stream_id]

    def messages(self, stream_id):
        """Return every message that arrived on a stream."""
        return [message for event in self.of(MessagesReceived, stream_id) for message in event.messages]

    def consume(self, stream_id=None):
        """Let the application take every message that it has not taken yet, and ask for the next."""
        for event in self.of(MessagesReceived, stream_id):
            for message in event.messages:
                self.wire.return_credit(event.stream_id, len(message) + 5)
            self.events.remove(event)
        for number in list(self.wire.streams) if stream_id is None else [stream_id]:
            self.wire.expect_message(number)

    def release_all(self):
        """Let the application be done with every stream."""
        for stream_id in list(self.wire.streams):
            self.wire.release(stream_id)


class Pair:
    """A client and a server that have said hello, unless ``started`` is False.

    ``chunk`` says into which pieces the pipe cuts what it carries, see :func:`pieces`.
    """

    def __init__(self, *, client=None, server=None, client_limits=None, server_limits=None, chunk=None, started=True):
        self.chunk = chunk
        self.client = End(Connection(client=True, settings=client, limits=client_limits))
        self.server = End(Connection(client=False, settings=server, limits=server_limits))
        if started:
            self.pump()

    def ends(self):
        """Return both ends, the client first."""
        return self.client, self.server

    def step(self):
        """Carry what each end wants to say now to the other; return how many bytes that were."""
        moved = 0
        for speaker, listener in ((self.client, self.server), (self.server, self.client)):
            data = speaker.wire.data_to_send()
            moved += len(data)
            listener.take(feed(listener.wire, data, self.chunk))
        return moved

    def pump(self, *, consume=False):
        """Carry bytes until both ends are silent; ``consume`` lets both applications read all the while."""
        while True:
            moved = self.step()
            if consume:
                self.client.consume()
                self.server.consume()
            if not moved and not (self.client.wire.wants_write or self.server.wire.wants_write):
                return

    def open(self, *messages, end=False, template=REQUEST, extra=()):
        """Begin a call on the client, send messages, and return its stream."""
        stream_id = self.client.wire.open_stream(template, extra)
        for message in messages:
            self.client.wire.send_message(stream_id, message)
        if end:
            self.client.wire.send_end(stream_id)
        return stream_id

    def answer(self, stream_id, *messages, trailers=TRAILERS, extra=()):
        """Send headers, messages and trailers on the server."""
        self.server.wire.send_headers(stream_id, RESPONSE)
        for message in messages:
            self.server.wire.send_message(stream_id, message)
        if trailers is not None:
            self.server.wire.send_trailers(stream_id, trailers, extra)

    def finish(self):
        """Release everything on both ends and carry the rest."""
        self.pump()
        for end in self.ends():
            end.release_all()
        self.pump()
        for end in self.ends():
            end.release_all()
        self.pump()


def assert_whole(end):
    """Assert that one end has no stream and no byte of anything left, and the whole connection window."""
    wire = end.wire if isinstance(end, End) else end
    assert wire.streams == {}
    assert wire.open_streams == 0
    assert wire.outbox.data_size == 0
    window = wire.window
    assert window.available + window.owed == window.size + window.lent


def assert_balanced(pair):
    """Assert that both ends count the same windows while nothing is on its way (RFC 9113 §6.9)."""
    for speaker, listener in ((pair.client.wire, pair.server.wire), (pair.server.wire, pair.client.wire)):
        assert speaker.outbox.window == listener.window.available
        for stream_id, stream in speaker.streams.items():
            other = listener.streams.get(stream_id)
            if other is not None and not stream.closed and not other.closed and not other.deaf:
                assert stream.send_window == other.receive_window.available
        held = sum(stream.unread for stream in listener.streams.values())
        window = listener.window
        assert window.available + window.owed + held == window.size + window.lent


def assert_even(pair):
    """Assert that nothing is left on either end and every byte of credit is where it was at first."""
    assert_balanced(pair)
    for end in pair.ends():
        assert_whole(end)
        window = end.wire.window
        assert (window.available + window.owed, window.lent) == (window.size, 0)
