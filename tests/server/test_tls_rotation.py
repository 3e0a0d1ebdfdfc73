"""Certificates that change under running calls."""

import os
from pathlib import Path

import anyio
import pytest

from certificates import Authority
from echo import Echo, EchoStub, RawCodec
from orbit_net.client import Channel, TlsConfig
from orbit_net.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90), pytest.mark.stress]

CALLS = 1_000
WORKERS = 4
POLL = 0.02


class WhoCalls(Echo):
    """Answers with the serial number of the client's certificate."""

    async def chat(self, stream):
        await stream.send_message(b"%d" % stream.peer.certificate.serial_number)


class Node:
    """The files of one side; each side trusts the authorities in its CA file."""

    def __init__(self, directory, name, authority):
        self.directory = Path(directory, name)
        self.directory.mkdir()
        self.authority = authority
        self.serial = 0
        self.ca = self.directory / "ca.crt"
        self.trust(authority)
        self.renew()

    def trust(self, *authorities):
        """Replace the CA file."""
        new = self.directory / "ca.new"
        new.write_bytes(b"".join(authority.pem for authority in authorities))
        os.replace(new, self.ca)

    def renew(self):
        """Write a new pair in place, the two files one after the other, as a careless tool does."""
        pair = self.authority.issue()
        pair.write(self.directory)
        self.serial = pair.serial

    def config(self):
        """Return the config of either side."""
        return TlsConfig(
            certificate=self.directory / "node.crt",
            private_key=self.directory / "node.key",
            ca=self.ca,
            client_verification="required",
            poll_interval=POLL,
        )


class Traffic:
    """Calls on channels, one after the other on each, and what both ends presented on the newest connection."""

    def __init__(self, server, target, node):
        self.server = server
        self.target = target
        self.node = node
        self.calls = 0
        self.newest = (0, 0)
        self.over = False
        self.channels = []

    async def call(self, channel):
        """Return the serial numbers of the server's and of the client's certificate, by one call."""
        async with EchoStub(channel).chat() as stream:
            await stream.send_request(end=True)
            client = int(await stream.recv_message())
            self.calls += 1
            return stream.peer.certificate.serial_number, client

    async def steady(self):
        """Call on a connection that stays, and so shows the first certificates for ever."""
        async with Channel(self.target, codec=RawCodec(), tls=self.node.config()) as channel:
            self.channels.append(channel)
            first = self.newest = await self.call(channel)
            [self.stays] = self.server._connections
            while not self.over:
                assert await self.call(channel) == first

    async def restless(self):
        """Call on a channel whose connections the server drains."""
        async with Channel(self.target, codec=RawCodec(), tls=self.node.config()) as channel:
            self.channels.append(channel)
            while not self.over:
                self.newest = await self.call(channel)

    async def drains(self):
        """Make handshakes happen: drain each connection but the one that stays."""
        while not self.over:
            for connection in self.server._connections - {self.stays}:
                if connection.wire.last_peer_stream_id:  # it is in use: a goodbye in the handshake is a failed attempt
                    connection.drain()
            await anyio.sleep(POLL)

    async def until(self, condition):
        """Let calls go on until the condition holds."""
        with anyio.fail_after(60):
            while not condition():
                await anyio.sleep(POLL)


async def test_no_call_is_lost_while_certificates_change(tmp_path):
    """1,000 calls run while both sides change theirs three times, their authority too; later handshakes show the new.

    Some calls run on one connection that stays, others on channels that must connect again and again.
    """
    old, new = Authority("old"), Authority("new")
    ours, theirs = Node(tmp_path, "client", old), Node(tmp_path, "server", old)
    async with Server([WhoCalls()], codec=RawCodec(), tls=theirs.config()) as server:
        [target] = await server.listen("127.0.0.1:0")
        traffic = Traffic(server, target, ours)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(traffic.steady)
            await traffic.until(lambda: traffic.calls)
            assert traffic.newest == (theirs.serial, ours.serial)
            for _ in range(WORKERS):
                tasks.start_soon(traffic.restless)
            tasks.start_soon(traffic.drains)
            await traffic.until(lambda: len(traffic.channels) > WORKERS)
            for step in range(3):
                before = traffic.calls
                if step == 2:  # trust the new authority everywhere before it is used anywhere
                    for node in (ours, theirs):
                        node.trust(old, new)
                        node.authority = new
                    for owner in (server, *traffic.channels):
                        owner.tls.reload()
                ours.renew()
                theirs.renew()
                expected = theirs.serial, ours.serial
                await traffic.until(lambda expected=expected: traffic.newest == expected)
                await traffic.until(lambda before=before: traffic.calls >= before + CALLS // 3 + 1)
            traffic.over = True
    assert traffic.calls >= CALLS
    assert len(traffic.channels) == WORKERS + 1
