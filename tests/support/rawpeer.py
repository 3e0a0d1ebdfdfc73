"""A peer that speaks HTTP/2 frame by frame, right or wrong: hyperframe and hpack, none of our code."""

from contextlib import asynccontextmanager

import anyio
import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from echo import Echo, EchoStub, RawCodec
from memory import HANG, MemoryConnector, memory_pair
from orbit_net.client import Channel
from orbit_net.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
OK_TRAILERS = [("grpc-status", "0")]


def message(data=b"", *, flag=0):
    """Return a length-prefixed message."""
    return bytes((flag,)) + len(data).to_bytes(4, "big") + data


def request_headers(path="/test.Echo/Unary", **changes):
    """Return request headers; a change of None leaves a field out, underscores are hyphens."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changes.items():
        key = name.replace("_", "-")
        fields[f":{key}" if key in ("method", "scheme", "authority") else key] = value
    return [(name, value) for name, value in fields.items() if value is not None]


class RawPeer:
    """One end of a byte stream. ``read`` returns the next frame of interest, its header block decoded as ``fields``."""

    def __init__(self, stream):
        self.stream = stream
        self.seen = []
        self._later = []
        self._requests = {}
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._buffer = b""

    async def send(self, *frames):
        """Send frames, or bytes as they are."""
        data = b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames)
        await self.stream.send(data)

    def headers(self, stream_id, fields, *, end=False):
        """Return a HEADERS frame."""
        frame = HeadersFrame(stream_id, self._encoder.encode(fields), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def data(self, stream_id, data=b"", *, end=False):
        """Return a DATA frame."""
        return DataFrame(stream_id, data, flags=["END_STREAM"] if end else [])

    def settings(self, **values):
        """Return a SETTINGS frame; the names are those of :class:`hyperframe.frame.SettingsFrame`."""
        return SettingsFrame(0, {getattr(SettingsFrame, name): value for name, value in values.items()})

    def goaway(self, last, code=0, debug=b""):
        """Return a GOAWAY frame."""
        return GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=debug)

    def reset(self, stream_id, code):
        """Return a RST_STREAM frame."""
        return RstStreamFrame(stream_id, error_code=code)

    def window(self, stream_id, size):
        """Return a WINDOW_UPDATE frame."""
        return WindowUpdateFrame(stream_id, window_increment=size)

    async def _exactly(self, size):
        while len(self._buffer) < size:
            self._buffer += await self.stream.receive()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def frame(self):
        """Return the next frame whatever it is; raises :class:`anyio.EndOfStream`."""
        frame, length = Frame.parse_frame_header(memoryview(await self._exactly(9)))
        frame.parse_body(memoryview(await self._exactly(length)))
        if isinstance(frame, HeadersFrame):
            frame.fields = self._decoder.decode(frame.data)
        self.seen.append(frame)
        return frame

    async def read(self, *kinds):
        """Return the next frame of one of ``kinds`` (all but SETTINGS, WINDOW_UPDATE and PING), answering pings."""
        while True:
            frame = await self.frame()
            if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                await self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            if (
                isinstance(frame, kinds)
                if kinds
                else not isinstance(frame, (SettingsFrame, WindowUpdateFrame, PingFrame))
            ):
                return frame

    async def until_closed(self):
        """Read until the other end has closed, and return the frames that came."""
        frames = []
        with anyio.move_on_after(5):
            try:
                while True:
                    frames.append(await self.frame())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return frames
        raise AssertionError("the other end did not close")

    # --- as a server -----------------------------------------------------------------------------

    async def accept(self, **settings):
        """Take the preface of a client and send SETTINGS."""
        assert await self._exactly(len(PREFACE)) == PREFACE
        await self.send(self.settings(**settings))

    async def request(self):
        """Read until a request has ended, and return ``(stream_id, fields, body)``; other requests may be under way."""
        while True:
            frame = await self.read(HeadersFrame, DataFrame)
            if isinstance(frame, HeadersFrame):
                self._requests[frame.stream_id] = dict(frame.fields), []
            fields, body = self._requests[frame.stream_id]
            if isinstance(frame, DataFrame):
                body.append(frame.data)
            if "END_STREAM" in frame.flags:
                del self._requests[frame.stream_id]
                return frame.stream_id, fields, b"".join(body)

    async def respond(self, stream_id, *messages, headers=OK_HEADERS, trailers=OK_TRAILERS):
        """Answer a request."""
        await self.send(
            self.headers(stream_id, headers),
            *[self.data(stream_id, message(data)) for data in messages],
            self.headers(stream_id, trailers, end=True),
        )

    # --- as a client -----------------------------------------------------------------------------

    async def begin(self, **settings):
        """Send the preface and SETTINGS."""
        await self.send(PREFACE, self.settings(**settings))

    async def response(self, stream_id):
        """Read a response to its trailers or reset; return ``(headers, body, trailers)`` with a reset as an int.

        Frames of other streams are kept for their own turn.
        """
        headers, body = None, b""
        early = [frame for frame in self._later if frame.stream_id == stream_id]
        self._later = [frame for frame in self._later if frame.stream_id != stream_id]
        while True:
            frame = early.pop(0) if early else await self.read()
            if frame.stream_id != stream_id:
                self._later.append(frame)
                continue
            if isinstance(frame, HeadersFrame):
                if "END_STREAM" in frame.flags:
                    return headers, body, dict(frame.fields)
                headers = dict(frame.fields)
            elif isinstance(frame, DataFrame):
                body += frame.data
                if "END_STREAM" in frame.flags:
                    return headers, body, None
            elif isinstance(frame, RstStreamFrame):
                return headers, body, frame.error_code


@asynccontextmanager
async def scripted(script, *, settings=None, **options):
    """Give ``(channel, stub)`` to a server that plays ``script(peer)`` on each connection, then closes it."""

    async def accept(stream):
        async with stream:
            try:
                await script(RawPeer(stream))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            network = MemoryConnector(tasks, accept)
            async with Channel(
                "memory:1", codec=RawCodec(), connector=network, settings=settings, **options
            ) as channel:
                yield channel, EchoStub(channel)
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def raw_client(service=None, *, settings=None, **options):
    """Give ``(server, peer)``: our server, and a raw client that has sent its preface."""
    with anyio.fail_after(HANG):
        async with Server([service or Echo()], codec=RawCodec(), settings=settings, **options) as server:
            ours, theirs = memory_pair()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve_stream, theirs)
                async with ours:
                    peer = RawPeer(ours)
                    await peer.begin()
                    yield server, peer
