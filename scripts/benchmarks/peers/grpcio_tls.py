"""grpcio's asyncio API over TLS."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc

from ..certificate import CERTIFICATE, KEY, issued
from . import grpcio_
from .grpcio_ import Connection


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    with issued() as folder:
        pair = [((folder / KEY).read_bytes(), (folder / CERTIFICATE).read_bytes())]
        async with grpcio_.serve(grpc.ssl_server_credentials(pair)) as address:
            yield f"{address}|{folder}"


def connect(address: str) -> AbstractAsyncContextManager[Connection]:
    target, _, folder = address.partition("|")
    trusted = (Path(folder) / CERTIFICATE).read_bytes()
    return grpcio_.connect(target, grpc.ssl_channel_credentials(trusted))
