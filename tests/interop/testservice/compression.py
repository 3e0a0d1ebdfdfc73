"""What the compression cases need of our runtime."""

import inspect

from orbit_net.client import Channel

AVAILABLE = "compression" in inspect.signature(Channel.request).parameters


def compressed():
    """Return the keywords of a call whose messages are compressed."""
    return {"compression": "gzip"}


def answer_compressed(stream):
    """Let the replies of a call be compressed."""
    stream.set_compression("gzip")


async def send(stream, reply, *, compress):
    """Send one reply, compressed or not."""
    if AVAILABLE:
        await stream.send_message(reply, compress=compress)
    else:
        await stream.send_message(reply)


def came_compressed(message):
    """Whether a received message was compressed on its way."""
    raise NotImplementedError
