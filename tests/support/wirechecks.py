"""What holds for a :class:`orbit_net.wire.Connection` at any time, whatever it has been through."""

import rawframes as raw
from orbit_net.wire.events import ConnectionFailed
from orbit_net.wire.grammar import Phase


def assert_sound(connection):
    """Assert the invariants of a connection: streams, windows, queues and buffers fit together and are bounded."""
    streams = connection.streams.values()
    assert connection.open_streams == sum(not stream.closed for stream in streams)
    assert connection.outbox.data_size == sum(stream.out_size for stream in streams)
    held = 0
    for stream in streams:
        assert not (stream.released and stream.closed), "a released stream is forgotten when it is closed"
        assert stream.out_size == sum(map(len, stream.out)) - stream.out_offset
        assert stream.unread >= 0
        held += stream.unread
        window = stream.receive_window
        if stream.receive_phase is not Phase.DONE and not stream.deaf:
            assert window.available + window.owed + stream.unread == window.size + window.lent
    window = connection.window
    if connection.failure is None:
        assert window.available + window.owed + held == window.size + window.lent
    reader = connection._reader
    assert len(reader._tail) <= connection.settings.max_frame_size + 9 + 24
    assert len(reader._block) <= 2 * connection.settings.max_header_list


def assert_one_failure(connection, events):
    """Assert that ``events`` are all right: a failure is the last of them, and is told to the peer once."""
    failures = [index for index, event in enumerate(events) if isinstance(event, ConnectionFailed)]
    assert failures in ([], [len(events) - 1])
    assert (connection.failure is not None) == bool(failures)
    sent = b""
    while connection.wants_write:
        part = connection.data_to_send()
        if not part:
            break
        sent += part
    goaways = [code for _, code, _ in raw.goaways(sent)]
    if failures:
        assert goaways == [connection.failure.error_code]
        assert raw.split(sent)[-1][0] == raw.GOAWAY, "nothing follows the last goodbye"
        assert all(stream.closed for stream in connection.streams.values())
    else:
        assert goaways == []
    return sent
