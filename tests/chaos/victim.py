"""A server in a process of its own: ``python victim.py BACKEND``. It prints its target, and answers each line of
standard input with its CPU seconds and the largest memory, in bytes, that it has had since the line before."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
from grpclib.const import Cardinality, Handler

from orbit_net.codec import Codec
from orbit_net.proto.orbit.shared import MessageProto
from orbit_net.server import ConnectionLimits, Server, ServerSettings, Service
from orbit_net.wire import PatienceSettings

REPLY = bytes(65_536)


class Victim(Service):
    """Echo, large replies, and protobuf messages."""

    async def echo(self, request):
        """Answer with the request."""
        return request

    async def large(self, request):
        """Answer with 1 MiB in sixteen messages."""
        for _ in range(16):
            yield REPLY

    async def parse(self, request):
        """Answer a protobuf message with nothing."""
        return b""

    async def chat(self, stream):
        """Take messages until there are no more."""
        async for _ in stream:
            pass

    def __mapping__(self):
        return {
            "/v.V/Echo": Handler(self._unary_unary(self.echo), Cardinality.UNARY_UNARY, bytes, bytes),
            "/v.V/Large": Handler(self._unary_stream(self.large), Cardinality.UNARY_STREAM, bytes, bytes),
            "/v.V/Parse": Handler(self._unary_unary(self.parse), Cardinality.UNARY_UNARY, MessageProto, bytes),
            "/v.V/Chat": Handler(self._stream_stream(self.chat), Cardinality.STREAM_STREAM, bytes, bytes),
        }


class BytesOrProtobuf:
    """Raw bytes, but for the methods that take a message."""

    _codec = Codec()

    def encode(self, message, message_type):
        """Return bytes."""
        return message

    def decode(self, data, message_type):
        """Return bytes or a message."""
        return data if message_type is bytes else self._codec.decode(data, message_type)


def peak():
    """Return the peak of resident memory in bytes, and begin a new one where the system lets us."""
    status = Path("/proc/self/status").read_text()
    found = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    Path("/proc/self/clear_refs").write_text("5")
    return found


async def main():
    """Serve until standard input ends."""
    settings = ServerSettings(
        connections=ConnectionLimits(total=200, per_peer=100),
        patience=PatienceSettings(handshake=1.0, frame=1.0, acknowledgement=1.0, stall=0.5),
    )
    async with Server([Victim()], codec=BytesOrProtobuf(), settings=settings) as server:
        [target] = await server.listen("0.0.0.0:0")
        print(json.dumps(target), flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(json.dumps([time.process_time(), peak()]), flush=True)
        server.close()


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
