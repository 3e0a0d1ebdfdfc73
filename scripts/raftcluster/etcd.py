"""Three members of a real etcd, and the one call of it that is measured."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any, Self

import anyio
from grpclib.const import Cardinality

from orbit_net.client import Channel
from orbit_net.errors import RpcError

_PUT, _STATUS = "/etcdserverpb.KV/Put", "/etcdserverpb.Maintenance/Status"


class _Bytes:
    """Messages are bytes already."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return them."""
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        """Return them."""
        return data


class Etcd:
    """A cluster on loopback addresses of its own; ``put`` goes to its leader."""

    def __init__(self, binary: str, directory: Path) -> None:
        net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self._hosts = {f"e{number}": f"{net}.{number}" for number in (1, 2, 3)}
        self._binary, self._directory = binary, directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        members = ",".join(f"{name}=http://{host}:2380" for name, host in self._hosts.items())
        for name, host in self._hosts.items():
            client, peer = f"http://{host}:2379", f"http://{host}:2380"
            command = [self._binary, "--name", name, "--data-dir", str(self._directory / name)]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", members, "--initial-cluster-state", "new", "--log-level", "error"]
            self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        host = await self._leader()
        self._channel = await Channel(f"{host}:2379", codec=_Bytes()).__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        if self._channel is not None:
            await self._channel.__aexit__(None, None, None)
        for process in self._processes:
            process.kill()
            process.wait()

    async def _leader(self) -> str:
        with anyio.fail_after(30):
            while True:
                for host in self._hosts.values():
                    async with Channel(f"{host}:2379", codec=_Bytes()) as channel:
                        try:
                            answer = await _call(channel, _STATUS, b"")
                        except RpcError:
                            continue
                    fields = _fields(answer)
                    if fields.get(4) and fields[4] == _fields(fields[1]).get(2):  # leader is member_id
                        return host
                await anyio.sleep(0.1)

    async def put(self, key: str, value: str) -> None:
        """Set a value."""
        assert self._channel is not None
        request = b"".join(bytes([tag, len(data)]) + data for tag, data in ((10, key.encode()), (18, value.encode())))
        await _call(self._channel, _PUT, request)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]


async def _call(channel: Channel, path: str, request: bytes) -> bytes:
    async with channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes, timeout=10) as call:
        await call.send_message(request, end=True)
        answer = await call.recv_message()
        assert answer is not None
        return answer


def _fields(data: bytes) -> dict[int, Any]:
    """Read the numbers and the bytes of a protobuf message."""
    fields: dict[int, Any] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            fields[tag >> 3] = number()
        else:
            size = number()
            fields[tag >> 3] = data[at : at + size]
            at += size
    return fields
