"""Real etcd servers, as processes that a test can kill and start again."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from orbit_net.directory import EtcdClient, EtcdSettings
from orbit_net.errors import OrbitError

BINARY = os.environ.get("ETCD") or shutil.which("etcd")

needs_etcd = pytest.mark.skipif(
    BINARY is None, reason="no etcd here: install it with 'apt-get install etcd-server', or name the binary in $ETCD"
)

FAST = EtcdSettings(lease=2, timeout=10.0, try_timeout=2.0, pause=0.05)
"""A lease of two seconds is the least that etcd gives with its election timeout of these tests: it is to run out."""

STEADY = replace(FAST, lease=30)
"""A lease that a busy machine does not let run out between two steps of a test that wants it kept."""


def free_ports(count):
    """Return ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [found.getsockname()[1] for found in sockets]
    finally:
        for found in sockets:
            found.close()


class Etcd:
    """One member; a cluster has several with the same ``peers``."""

    def __init__(self, folder, name, client_port, peers, extra=()):
        self.endpoint = f"127.0.0.1:{client_port}"
        self._process = None
        scheme = "https" if extra else "http"
        cluster = ",".join(f"{peer}=http://127.0.0.1:{port}" for peer, port in peers.items())
        url, peer = f"{scheme}://{self.endpoint}", f"http://127.0.0.1:{peers[name]}"
        self._command = [
            BINARY,
            f"--name={name}",
            f"--data-dir={folder}/{name}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            "--heartbeat-interval=100",
            "--election-timeout=1000",
            "--log-level=error",
            *extra,
        ]

    def start(self):
        """Start the process, with the data of its earlier life."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        """Kill the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def ready(self, **options):
        """Wait until it answers; one that found its port taken meanwhile is started again."""
        async with EtcdClient([self.endpoint], settings=FAST, **options) as client:
            while True:
                try:
                    await client.range(b"ready")
                except OrbitError:
                    await anyio.sleep(0.05)
                    if self._process.poll() is not None:
                        self.start()
                else:
                    return


@asynccontextmanager
async def etcd(members=1, *, ready=True, extra=()):
    """Run a cluster of so many members."""
    ports = free_ports(2 * members)
    peers = {f"m{index}": ports[members + index] for index in range(members)}
    with tempfile.TemporaryDirectory(prefix="orbit-etcd-", ignore_cleanup_errors=True) as folder:
        servers = [Etcd(folder, f"m{index}", ports[index], peers, extra) for index in range(members)]
        try:
            for server in servers:
                server.start()
            if ready:
                for server in servers:
                    await server.ready()
            yield servers
        finally:
            for server in servers:
                server.kill()
