"""orbit_net over TLS; the address carries the folder of the certificate."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from orbit_net.net import TlsConfig

from ..certificate import CERTIFICATE, KEY, issued
from . import orbit
from .orbit import Connection


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    with issued() as folder:
        async with orbit.serve(tls=TlsConfig(certificate=folder / CERTIFICATE, private_key=folder / KEY)) as address:
            yield f"{address}|{folder}"


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Connection, None]:
    target, _, folder = address.partition("|")
    async with orbit.connect(target, tls=TlsConfig(ca=f"{folder}/{CERTIFICATE}")) as connection:
        yield connection
