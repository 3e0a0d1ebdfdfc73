"""The servers of the http2_test cases: HTTP/2 by hand, as gRPC's http2-interop-test-descriptions tell them to do.

Each case is one class; ``connections`` counts how often a client came, ``faults`` says what a client did wrong.
"""

from contextlib import asynccontextmanager

import anyio
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from rawpeer import OK_HEADERS, OK_TRAILERS, RawPeer, message

from . import cases

_FRAME = 16_384
_WINDOW = 65_535


class FlowPeer(RawPeer):
    """A raw peer that keeps to the windows of the client, opens its own, and acknowledges SETTINGS and pings."""

    def __init__(self, stream):
        super().__init__(stream)
        self._initial = self._connection = _WINDOW
        self._used = {}
        self.unanswered = 0

    async def frame(self):
        """Return the next frame, its part in flow control done."""
        frame = await super().frame()
        if isinstance(frame, WindowUpdateFrame):
            if frame.stream_id:
                self._used[frame.stream_id] = self._used.get(frame.stream_id, 0) - frame.window_increment
            else:
                self._connection += frame.window_increment
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self._initial = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial)
            await self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, DataFrame) and frame.flow_controlled_length:
            await self.send(self.window(0, frame.flow_controlled_length))
            if "END_STREAM" not in frame.flags:
                await self.send(self.window(frame.stream_id, frame.flow_controlled_length))
        elif isinstance(frame, PingFrame) and "ACK" in frame.flags:
            self.unanswered -= 1
        return frame

    async def ping(self):
        """Send a ping, to be acknowledged by the client some time."""
        self.unanswered += 1
        await self.send(PingFrame(0, b"%08d" % self.unanswered))

    async def send_body(self, stream_id, body):
        """Send DATA as the windows allow; other frames of the client are dealt with meanwhile."""
        while body:
            size = min(_FRAME, len(body), self._connection, self._initial - self._used.get(stream_id, 0))
            if size <= 0:
                await self._pause()
                continue
            await self.send(self.data(stream_id, body[:size]))
            body = body[size:]
            self._connection -= size
            self._used[stream_id] = self._used.get(stream_id, 0) + size

    async def _pause(self):
        frame = await self.frame()
        assert not isinstance(frame, (HeadersFrame, DataFrame)), "a request while another is being answered"


class Misbehaving:
    """Answers each UnaryCall as it should. Subclass it to do otherwise."""

    streams = None

    def __init__(self, m):
        reply = m.SimpleResponse(payload=cases.zeros(m, cases.RESPONSE_SIZE))
        self.body = message(reply.SerializeToString())
        self.connections = 0
        self.faults = []

    async def connection(self, peer):
        """Play the server on one connection, until the client leaves."""
        while True:
            stream_id, _, _ = await peer.request()
            await self.answer(peer, stream_id)

    async def answer(self, peer, stream_id):
        """Answer one request."""
        await peer.send(peer.headers(stream_id, OK_HEADERS))
        await peer.send_body(stream_id, self.body)
        await peer.send(peer.headers(stream_id, OK_TRAILERS, end=True))

    async def ended(self, peer):
        """The client has left."""


class Goaway(Misbehaving):
    """Sends GOAWAY after the first request of a connection, and answers it."""

    async def answer(self, peer, stream_id):
        """Say goodbye first."""
        await peer.send(peer.goaway(stream_id))
        await super().answer(peer, stream_id)


class ResetAfterHeader(Misbehaving):
    """Sends RST_STREAM with the error code 0 after the response headers."""

    part = 0.0

    async def answer(self, peer, stream_id):
        """Break off after a part of the message."""
        await peer.send(peer.headers(stream_id, OK_HEADERS))
        await peer.send_body(stream_id, self.body[: int(self.part * len(self.body))])
        await peer.send(peer.reset(stream_id, 0))


class ResetDuringData(ResetAfterHeader):
    """The same in the middle of the message."""

    part = 0.5


class ResetAfterData(ResetAfterHeader):
    """The same after the message, before the trailers."""

    part = 1.0


class Ping(Misbehaving):
    """Sends pings before and after headers and data; each must be acknowledged when the client leaves."""

    async def answer(self, peer, stream_id):
        """Ping all along."""
        await peer.ping()
        await peer.send(peer.headers(stream_id, OK_HEADERS))
        await peer.ping()
        await peer.send_body(stream_id, self.body)
        await peer.ping()
        while peer.unanswered:
            await peer.read(PingFrame)
        await peer.send(peer.headers(stream_id, OK_TRAILERS, end=True))

    async def ended(self, peer):
        """Count."""
        if peer.unanswered:
            self.faults.append(f"{peer.unanswered} pings were not acknowledged")


class MaxStreams(Misbehaving):
    """Allows one stream at a time."""

    streams = 1

    async def connection(self, peer):
        """Notice a second stream beside the one that is not answered yet."""
        streams = set()
        while True:
            frame = await peer.read(HeadersFrame, DataFrame)
            if isinstance(frame, HeadersFrame):
                streams.add(frame.stream_id)
                if len(streams) > 1:
                    self.faults.append(f"{len(streams)} streams at once")
            if "END_STREAM" in frame.flags:
                await self.answer(peer, frame.stream_id)
                streams.remove(frame.stream_id)


SERVERS = {
    "goaway": Goaway,
    "rst_after_header": ResetAfterHeader,
    "rst_during_data": ResetDuringData,
    "rst_after_data": ResetAfterData,
    "ping": Ping,
    "max_streams": MaxStreams,
}


@asynccontextmanager
async def misbehaving(case, m):
    """Give ``(server, target)``."""
    server = SERVERS[case](m)

    async def play(stream):
        server.connections += 1
        peer = FlowPeer(stream)
        async with stream:
            try:
                await peer.accept(**({} if server.streams is None else {"MAX_CONCURRENT_STREAMS": server.streams}))
                await server.connection(peer)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                await server.ended(peer)
            except AssertionError as error:
                server.faults.append(str(error))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, play)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield server, f"127.0.0.1:{port}"
        tasks.cancel_scope.cancel()
