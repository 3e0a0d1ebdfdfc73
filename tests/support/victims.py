"""A server in a process of its own, and what an attack on it costs."""

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from echo import EchoStub, RawCodec
from orbit_net.client import Channel
from rawpeer import RawPeer

SUPPORT = Path(__file__).parent
MOST_CPU = 1.0
"""Seconds of CPU that an attack may cost the server."""
MOST_MEMORY = 16 * 1_048_576
"""Bytes by which it may grow meanwhile."""


class Victim:
    """A server process, and the means to look at it from outside."""

    def __init__(self, backend, *limit):
        command = [sys.executable, str(SUPPORT.parent / "chaos" / "echo_victim.py"), backend, *limit]
        path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
        )
        self.port = int(self.process.stdout.readline())
        self._proc = Path(f"/proc/{self.process.pid}")
        self.quiet = self.sockets()

    def cpu(self):
        """Return the seconds of CPU that the process has used."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, name):
        """Return ``VmRSS`` or, since the last :meth:`forget_peak`, ``VmHWM`` in bytes."""
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1_024
        raise AssertionError(name)

    def forget_peak(self):
        """Begin a new measurement of the peak."""
        (self._proc / "clear_refs").write_text("5")

    def sockets(self):
        """Return how many sockets the process has open."""
        names = []
        for link in (self._proc / "fd").iterdir():
            try:
                names.append(os.readlink(link))
            except FileNotFoundError:
                continue
        return sum(name.startswith("socket:") for name in names)

    def stop(self):
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    # --- attacks ---------------------------------------------------------------------------------

    async def connect(self, *, host="127.0.0.1"):
        """Return a raw peer that has said nothing yet."""
        stream = await anyio.connect_tcp("127.0.0.1", self.port, local_host=host)
        return RawPeer(stream)

    async def attack(self, data, *, hello=True, host="127.0.0.1"):
        """Send ``data``, chunk after chunk, while reading; return all frames that came before the server closed."""
        peer = await self.connect(host=host)
        async with peer.stream, anyio.create_task_group() as tasks:
            if hello:
                await peer.begin()

            async def send():
                try:
                    for chunk in data(peer) if callable(data) else [data]:
                        await peer.send(chunk)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return

            tasks.start_soon(send)
            frames = []
            try:
                with anyio.fail_after(30):
                    while True:
                        frames.append(await peer.frame())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                tasks.cancel_scope.cancel()
        return frames

    @asynccontextmanager
    async def watched(self, *, host="127.0.0.9"):
        """Serve a well-behaved client during the block, and check what the block has cost the server."""
        calls = 0

        async def behave(stub):
            nonlocal calls
            while True:
                assert await stub.unary(b"hello", timeout=20) == b"hello"
                calls += 1
                await anyio.sleep(0.01)

        async def connector():
            return await anyio.connect_tcp("127.0.0.1", self.port, local_host=host)

        async with Channel("victim:1", codec=RawCodec(), connector=connector) as channel:
            stub = EchoStub(channel)
            for _ in range(20):
                await stub.unary(b"hello")
            cpu, memory = self.cpu(), self.memory("VmRSS")
            self.forget_peak()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(behave, stub)
                with anyio.fail_after(60):
                    yield
                served = calls
                with anyio.fail_after(20):
                    while calls < served + 3:
                        await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            assert channel.subchannel.error is None
        cost, growth = self.cpu() - cpu, self.memory("VmHWM") - memory
        assert cost < MOST_CPU, f"{cost:.2f} s of CPU"
        assert growth < MOST_MEMORY, f"{growth / 1_048_576:.1f} MiB"
        with anyio.fail_after(20):
            while self.sockets() > self.quiet:
                await anyio.sleep(0.02)  # another process: its sockets are the only sign
