"""A gRPC peer on :class:`h2.connection.H2Connection`: the other opinion about what bytes mean."""

from struct import pack, unpack

import h2.config
import h2.connection
import h2.events
import h2.settings


class H2Call:
    """One stream as the peer sees it: what arrived, what is to be sent, and what was not acknowledged yet."""

    def __init__(self):
        self.headers = self.trailers = None
        self.messages = []
        self.ended = False
        self.reset = None
        self.unread = 0
        self.out = b""
        self.tail = None
        self.finished = False
        self._buffer = b""

    def arrive(self, data):
        """Take a payload apart into messages."""
        self._buffer += data
        while len(self._buffer) >= 5:
            _, length = unpack(">BI", self._buffer[:5])
            if len(self._buffer) < 5 + length:
                return
            self.messages.append(self._buffer[5 : 5 + length])
            self._buffer = self._buffer[5 + length :]

    @property
    def whole(self):
        """Whether nothing of a message is left over."""
        return not self._buffer


class H2Peer:
    """One end. Nothing is acknowledged, and so no window opened, unless a test says so."""

    def __init__(self, *, client, window=65_535, streams=100):
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.conn = h2.connection.H2Connection(config)
        self.conn.local_settings = h2.settings.Settings(
            client=client,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self.conn.initiate_connection()
        self.calls = {}
        self.goaway = None
        self.pongs = 0

    def receive(self, data):
        """Take bytes of the other end."""
        for event in self.conn.receive_data(data):
            match event:
                case h2.events.RequestReceived() | h2.events.ResponseReceived():
                    call = self.calls.setdefault(event.stream_id, H2Call())
                    call.headers = list(event.headers)
                case h2.events.TrailersReceived():
                    self.calls[event.stream_id].trailers = list(event.headers)
                case h2.events.DataReceived():
                    call = self.calls[event.stream_id]
                    call.arrive(event.data)
                    call.unread += event.flow_controlled_length
                case h2.events.StreamEnded():
                    self.calls[event.stream_id].ended = True
                case h2.events.StreamReset():
                    call = self.calls[event.stream_id]
                    if call.reset is None:
                        call.reset = event.error_code
                    call.out, call.tail = b"", None
                case h2.events.ConnectionTerminated():
                    self.goaway = event
                case h2.events.PingAckReceived():
                    self.pongs += 1

    def acknowledge(self, stream_id, size=None):
        """Let the application read: ``size`` bytes, or all."""
        call = self.calls[stream_id]
        size = call.unread if size is None else min(size, call.unread)
        if size:
            call.unread -= size
            self.conn.acknowledge_received_data(size, stream_id)
        stream = self.conn.streams.get(stream_id)
        if not call.unread and stream is not None and not stream.closed and stream.inbound_flow_control_window < 0:
            # h2 keeps back small credits even of a window that its own settings have made negative.
            self.conn.increment_flow_control_window(65_535, stream_id)

    def open(self, headers):
        """Begin a request."""
        stream_id = self.conn.get_next_available_stream_id()
        self.calls[stream_id] = H2Call()
        self.conn.send_headers(stream_id, headers)
        return stream_id

    def send_message(self, stream_id, message):
        """Queue one message."""
        self.calls[stream_id].out += pack(">BI", 0, len(message)) + message

    def send_end(self, stream_id, trailers=()):
        """Queue the end: END_STREAM, or trailers."""
        self.calls[stream_id].tail = list(trailers)

    def reset(self, stream_id, code):
        """Abandon a stream."""
        call = self.calls[stream_id]
        call.out, call.tail, call.reset = b"", None, code
        self.conn.reset_stream(stream_id, code)

    def flush(self):
        """Send of what is queued as much as the windows allow."""
        for stream_id, call in self.calls.items():
            if call.reset is not None or call.finished:
                continue
            while call.out:
                size = min(
                    len(call.out), self.conn.local_flow_control_window(stream_id), self.conn.max_outbound_frame_size
                )
                if size <= 0:
                    break
                self.conn.send_data(stream_id, call.out[:size], pad_length=None)
                call.out = call.out[size:]
            if not call.out and call.tail is not None:
                if call.tail:
                    self.conn.send_headers(stream_id, call.tail, end_stream=True)
                else:
                    self.conn.end_stream(stream_id)
                call.finished, call.tail = True, None

    @property
    def waiting(self):
        """Whether something queued has not been sent yet."""
        return any(call.out or call.tail is not None for call in self.calls.values())

    def take(self):
        """Return the bytes to carry to the other end."""
        self.flush()
        return self.conn.data_to_send()
